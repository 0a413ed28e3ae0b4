package controlplane

import (
	"context"
	"fmt"
	"time"
)

// task is work on the disk of the snapshots, in a goroutine of its own: nothing can end
// a call on a disk that hangs.
type task struct {
	timeout *time.Timer
	done    chan struct{}
	// hung is closed when do has returned before the task has ended.
	hung chan struct{}
}

// ended is closed when the task has ended. Of nil it is closed.
func (t *task) ended() <-chan struct{} {
	if t == nil {
		t = &task{done: make(chan struct{})}
		close(t.done)
	}
	return t.done
}

// extend gives the task d from now on.
func (t *task) extend(d time.Duration) { t.timeout.Reset(d) }

// current is the task that was begun last, or nil.
func (s *schedule) current() *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.task
}

// begin makes t the current task when the one before has ended. A stop waits for every
// task that was begun before ctx ended.
func (s *schedule) begin(ctx context.Context, t *task) error {
	for {
		s.mu.Lock()
		if ctx.Err() != nil {
			s.mu.Unlock()
			return context.Cause(ctx)
		}
		before := s.task
		select {
		case <-before.ended():
			s.task = t
			s.mu.Unlock()
			return nil
		default:
		}
		s.mu.Unlock()
		select {
		case <-before.done:
		case <-before.hung:
			select {
			case <-before.done:
				continue
			default:
			}
			return fmt.Errorf("none is begun while another has the disk: %w", s.hangs())
		case <-ctx.Done():
		}
	}
}

// do runs work and returns when it has ended, or with an error when it holds on to the
// disk after ctx or its time has ended. Until then it begins no other. It waits for work
// of another call.
func (s *schedule) do(ctx context.Context, work func(context.Context, *task) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := &task{done: make(chan struct{}), hung: make(chan struct{})}
	if err := s.begin(ctx, t); err != nil {
		return err
	}
	limit := s.config.Timeout
	if limit == 0 {
		limit = snapshotTimeout
	}
	begin := time.Now()
	t.timeout = time.AfterFunc(limit, func() {
		cancel(fmt.Errorf("it has not ended after %s (Config.Snapshots.Timeout)", time.Since(begin).Round(time.Millisecond)))
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
	grace := time.NewTimer(snapshotGrace)
	defer grace.Stop()
	select {
	case <-t.done:
		return err
	case <-grace.C:
		close(t.hung)
		return fmt.Errorf("%w: %w", context.Cause(ctx), s.hangs())
	}
}
