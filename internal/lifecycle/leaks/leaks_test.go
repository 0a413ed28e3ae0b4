// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package leaks_test

import (
	"bytes"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/kubembed/kubembed/internal/lifecycle/leaks"
	"github.com/kubembed/kubembed/internal/testwait"
)

// TestIgnored: a usual goroutine of upstream is ignored, one of the program is not.
func TestIgnored(t *testing.T) {
	log := &lumberjack.Logger{Filename: filepath.Join(t.TempDir(), "audit.log")}
	if err := log.Rotate(); err != nil { // starts a goroutine that never ends
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	// If lumberjack has none any more, use another of selfending.Functions.
	testwait.True(t, "lumberjack's goroutine runs", func() bool {
		all := make([]byte, 1<<20)
		return bytes.Contains(all[:runtime.Stack(all, true)], []byte("millRun"))
	})

	release := make(chan struct{})
	go leaked(release)
	err := goleak.Find(leaks.Ignored()...)
	if err == nil || !strings.Contains(err.Error(), "leaked") || strings.Contains(err.Error(), "millRun") {
		t.Errorf("got %v, want only the leaked goroutine", err)
	}
	close(release)
	if err := goleak.Find(leaks.Ignored()...); err != nil {
		t.Error(err)
	}
}

func leaked(release <-chan struct{}) { <-release }
