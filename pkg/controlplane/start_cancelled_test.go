// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

func TestStartWithAContextThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	startCancelled(ctx, t, controlplane.Config{}, context.Canceled)
}

// TestCancelledStart ends the context at many moments of a start: whenever it
// logs something.
func TestCancelledStart(t *testing.T) {
	lines := func() int {
		var n atomic.Int64
		closeServer(t, start(t, controlplane.Config{Logger: onLine(func(int) { n.Add(1) })}))
		return int(n.Load())
	}()
	const moments = 12
	if lines < moments {
		t.Fatalf("lines of a start: got %d, want more to tell moments by", lines)
	}
	for i := range moments {
		at := 1 + i*lines/moments
		t.Run(fmt.Sprintf("line %d of %d", at, lines), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			logger := onLine(func(n int) {
				if n == at {
					cancel()
				}
			})
			startCancelled(ctx, t, controlplane.Config{Logger: logger}, context.Canceled)
		})
	}
}

// TestStartThatIsTooSlow ends the context after a while, at moments that
// nothing is logged at. The start may also be faster.
func TestStartThatIsTooSlow(t *testing.T) {
	for _, after := range []time.Duration{1, 5, 10, 20, 30, 50, 70, 100, 150, 200, 300} {
		after *= time.Millisecond
		t.Run(after.String(), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			startCancelled(ctx, t, controlplane.Config{}, context.DeadlineExceeded)
		})
	}
}

// TestCancelledStartOfDataDir: the start may leave files, but the next one succeeds.
func TestCancelledStartOfDataDir(t *testing.T) {
	dir := t.TempDir()
	for _, after := range []time.Duration{5, 20, 50, 100, 200} {
		ctx, cancel := context.WithTimeout(t.Context(), after*time.Millisecond)
		startCancelled(ctx, t, controlplane.Config{DataDir: dir}, context.DeadlineExceeded)
		cancel()
	}
	createPod(t, admin(t, start(t, controlplane.Config{DataDir: dir})), "first")
}

// startCancelled starts a control plane with a ctx that ends, and checks that nothing is
// left.
func startCancelled(ctx context.Context, t *testing.T, cfg controlplane.Config, want error) {
	t.Helper()
	temp := ownTemp(t)
	files, goroutines := openFiles(t), goleak.IgnoreCurrent()
	server, err := controlplane.Start(ctx, cfg)
	if err == nil {
		closeServer(t, server) // It was ready in time.
	} else if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if left := entries(t, temp); len(left) != 0 {
		t.Errorf("left in the temporary directory: got %v, want nothing", left)
	}
	if err := leaks(goroutines); err != nil {
		t.Error(err)
	}
	wantOpenFiles(t, files)
}

// onLine returns a logger that counts the lines, and calls f with the number
// of each.
func onLine(f func(n int)) *zap.Logger {
	core, _ := observer.New(zap.DebugLevel)
	var n atomic.Int64
	return zap.New(core, zap.Hooks(func(zapcore.Entry) error {
		f(int(n.Add(1)))
		return nil
	}))
}
