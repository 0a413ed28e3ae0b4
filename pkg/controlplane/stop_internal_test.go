// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// TestStopNamesWhatHangs: a stop that runs out of time names the step that it waits for,
// also if that has no timeout of its own.
func TestStopNamesWhatHangs(t *testing.T) {
	held := make(chan struct{})
	ended := make(chan struct{})
	s := &Server{goroutines: lifecycle.NewGoroutineSet(), fatal: newFatal()}
	s.teardown.push("the Logger", func() error { <-held; close(ended); return nil })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// Time enough for the rest, which has nothing to do.
	if err := s.unwindWithin(ctx, time.Second); err == nil || !strings.Contains(err.Error(), "waits for the Logger") {
		t.Errorf("error %v, want one that names the Logger", err)
	}
	close(held)
	<-ended
}
