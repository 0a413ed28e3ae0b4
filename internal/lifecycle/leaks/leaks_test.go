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
	all := make([]byte, 1<<20)
	if all = all[:runtime.Stack(all, true)]; !bytes.Contains(all, []byte("millRun")) {
		t.Fatal("lumberjack has no goroutine: use another of selfending.Functions")
	}

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
