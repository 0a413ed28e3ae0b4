// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package snapshots

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// task is work on the disk of the snapshots. It has its own goroutine, because calls on a
// disk that hangs cannot be interrupted.
type task struct {
	timeout *time.Timer
	done    chan struct{}
	// hung is closed when do has returned before the task.
	hung chan struct{}
}

// ended returns a channel that is closed when the task has ended, or if t is nil.
func (t *task) ended() <-chan struct{} {
	if t == nil {
		t = &task{done: make(chan struct{})}
		close(t.done)
	}
	return t.done
}

// extend sets the timeout of the task to d from now.
func (t *task) extend(d time.Duration) { t.timeout.Reset(d) }

// current returns the task that was started last, or nil.
func (s *Schedule) current() *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.task
}

// begin makes t the current task when the previous one has ended. Wait waits for every
// task that began before ctx ended.
func (s *Schedule) begin(ctx context.Context, t *task) error {
	for {
		s.mu.Lock()
		if ctx.Err() != nil {
			s.mu.Unlock()
			return context.Cause(ctx)
		}
		previous := s.task
		select {
		case <-previous.ended():
			s.task = t
			s.mu.Unlock()
			return nil
		default:
		}
		s.mu.Unlock()
		select {
		case <-previous.done:
		case <-previous.hung:
			select {
			case <-previous.done:
				continue
			default:
			}
			return fmt.Errorf("another snapshot is still using the disk: %w", s.hangs())
		case <-ctx.Done():
		}
	}
}

// do runs work and returns when work has ended. It returns an error if work does not end
// soon after ctx or the timeout; no other task starts until it has. do waits for the
// tasks of other calls.
func (s *Schedule) do(ctx context.Context, work func(context.Context, *task) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := &task{done: make(chan struct{}), hung: make(chan struct{})}
	if err := s.begin(ctx, t); err != nil {
		return err
	}
	limit := cmp.Or(s.Timeout, baseTimeout)
	begin := time.Now()
	t.timeout = time.AfterFunc(limit, func() {
		cancel(fieldpath.Errorf("it has not ended after %s (%s)", time.Since(begin).Round(time.Millisecond), timeoutField))
	})
	defer t.timeout.Stop()
	var err error
	go func() {
		defer close(t.done)
		err = work(ctx, t)
	}()
	select {
	case <-t.done:
		return err
	case <-ctx.Done():
	}
	grace := time.NewTimer(Grace)
	defer grace.Stop()
	select {
	case <-t.done:
		return err
	case <-grace.C:
		close(t.hung)
		return fmt.Errorf("%w: %w", context.Cause(ctx), s.hangs())
	}
}
