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

// do runs work and returns when it has ended, or with an error when it holds on to the
// disk after ctx or its time has ended. Until then it begins no other.
func (s *schedule) do(ctx context.Context, work func(context.Context, *task) error) error {
	select {
	case <-s.task.ended():
	default:
		return fmt.Errorf("none is begun while another has the disk: %w", s.hangs())
	}
	limit := s.config.Timeout
	if limit == 0 {
		limit = snapshotTimeout
	}
	begin := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := &task{done: make(chan struct{})}
	t.timeout = time.AfterFunc(limit, func() {
		cancel(fmt.Errorf("it has not ended after %s (Config.Snapshots.Timeout)", time.Since(begin).Round(time.Millisecond)))
	})
	defer t.timeout.Stop()
	s.task = t
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
		return fmt.Errorf("%w: %w", context.Cause(ctx), s.hangs())
	}
}
