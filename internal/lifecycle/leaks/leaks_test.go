// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package leaks_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/lifecycle/leaks"
	"github.com/kubembed/kubembed/internal/testwait"
)

// TestIgnored: a usual goroutine of upstream is ignored, one of the program is not.
func TestIgnored(t *testing.T) {
	klog.StartFlushDaemon(time.Hour) // a goroutine for the process
	// If klog has none any more, use another of selfending.Functions.
	testwait.True(t, "klog's goroutine runs", func() bool {
		all := make([]byte, 1<<20)
		return bytes.Contains(all[:runtime.Stack(all, true)], []byte("flushDaemon"))
	})

	release := make(chan struct{})
	go leaked(release)
	err := goleak.Find(leaks.Ignored()...)
	if err == nil || !strings.Contains(err.Error(), "leaked") || strings.Contains(err.Error(), "flushDaemon") {
		t.Errorf("got %v, want only the leaked goroutine", err)
	}
	close(release)
	if err := goleak.Find(leaks.Ignored()...); err != nil {
		t.Error(err)
	}
}

func leaked(release <-chan struct{}) { <-release }
