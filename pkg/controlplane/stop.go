// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

const (
	// stopTimeout bounds a stop after the requests in flight have ended or were cut. Each
	// part has a timeout of its own. Together they rarely come near this one.
	stopTimeout = 80 * time.Second
	// drainTimeout bounds a request if Config.RequestTimeout is zero.
	drainTimeout = time.Minute
	// electionsTimeout, filesTimeout and supervisorTimeout bound parts of a stop.
	electionsTimeout  = 5 * time.Second
	filesTimeout      = 5 * time.Second
	supervisorTimeout = 5 * time.Second
)

// teardown is the stack of steps that undo a start. Each part of a start pushes its own.
type teardown struct {
	stack   lifecycle.Teardown
	current atomic.Value    // string, the name of the step that runs
	drain   context.Context // of the stop, bounds requests in flight
	// running is set when a part has not ended. The stop then does not wait for its
	// goroutines, which have already missed their deadline.
	running atomic.Bool
}

// push adds a step that runs before the steps of earlier calls.
func (t *teardown) push(name string, stop func() error) {
	t.stack.Push(name, func(context.Context) error {
		t.current.Store(name)
		return stop()
	})
}

// pushPart is push for a part with goroutines of its own.
func (t *teardown) pushPart(name string, stop func() error) {
	t.push(name, func() error {
		err := stop()
		if err != nil {
			t.running.Store(true)
		}
		return err
	})
}

// stop unwinds the start, once. It returns in bounded time, even if a part of the process
// or the disk does not respond.
func (s *Server) stop(ctx context.Context) error {
	s.stopOnce.Do(func() {
		begin := time.Now()
		s.logStopping()
		err := s.unwindWithin(ctx, stopTimeout)
		s.logStopped(begin, err)
		s.stopErr = errors.Join(err, s.closeLog())
		close(s.done)
	})
	return s.stopErr
}

// unwindWithin returns when the start is undone, or when timeout has passed after the
// requests in flight have ended or were cut.
func (s *Server) unwindWithin(ctx context.Context, timeout time.Duration) error {
	ended := make(chan error, 1)
	go func() { ended <- s.unwind(ctx) }()
	drained := time.NewTimer(cmp.Or(s.config.RequestTimeout, drainTimeout))
	defer drained.Stop()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	case <-drained.C:
	}
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	select {
	case err := <-ended:
		return err
	case <-deadline.C:
		return fmt.Errorf("controlplane: stop: not done after %s, and continues in the background: it waits for %v", timeout, s.teardown.current.Load())
	}
}

// unwind first ends the work that may take long, then runs the steps of the start, the
// last one first. The steps have timeouts of their own: ctx bounds the requests in flight
// only.
func (s *Server) unwind(ctx context.Context) error {
	if s.quietKlog != nil {
		s.quietKlog()
	}
	s.fatal.ignore()
	s.snapshots.Load().Stop()
	s.health.stop()
	s.unmeasure()
	if s.apiserver == nil {
		s.closeListeners()
	}
	s.teardown.drain = ctx
	if err := s.teardown.stack.Unwind(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("controlplane: stop: %w", err)
	}
	return nil
}

// waitForAll waits for the goroutines of the control plane, unless they have already
// missed their deadline.
func (s *Server) waitForAll() error {
	if s.components != nil && !s.components.running() {
		s.waitForGoroutines(s.components.goroutines)
	}
	if !s.teardown.running.Load() {
		s.waitForGoroutines(s.goroutines)
		s.forget() // goroutines that are still running are still contained
	}
	s.forgetClients()
	return nil
}

// closeListeners frees the addresses. The API server may have closed the listeners.
func (s *Server) closeListeners() {
	for _, listener := range []net.Listener{s.listener, s.insecure} {
		if listener != nil {
			_ = listener.Close()
		}
	}
}

// removeFiles removes temporary files, and unlocks DataDir.
func (s *Server) removeFiles() (err error) {
	switch {
	case s.temporary != nil:
		err = s.temporary.Remove()
	case s.runDir != "":
		err = os.RemoveAll(s.runDir)
	}
	if s.lock != nil {
		s.lock.Unlock()
	}
	return err
}

// goroutinesTimeout bounds the wait for upstream's goroutines. Their context has ended,
// and they return within milliseconds.
const goroutinesTimeout = 5 * time.Second

// waitForGoroutines makes sure that a stopped control plane neither runs nor logs any
// more. Upstream's controllers can be stopped but offer no way to wait for them.
func (s *Server) waitForGoroutines(goroutines *lifecycle.GoroutineSet) {
	ctx, cancel := context.WithTimeout(context.Background(), goroutinesTimeout)
	defer cancel()
	if err := goroutines.Wait(ctx); err != nil {
		s.config.Logger.Warn("stopped, but goroutines are still running", zap.Error(err))
	}
}
