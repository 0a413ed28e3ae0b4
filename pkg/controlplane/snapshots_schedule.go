package controlplane

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/pkg/etcd"
)

// stop ends the work without waiting for it. It may be called again, and on nil.
func (s *schedule) stop() {
	if s != nil {
		s.cancel(etcd.ErrClosed)
	}
}

// wait returns when the work has ended after stop. It may be called on nil. A disk that
// hangs holds a goroutine for as long; then the error says so.
func (s *schedule) wait() error {
	if s == nil {
		return nil
	}
	late := time.NewTimer(snapshotStop)
	defer late.Stop()
	for _, ended := range []func() <-chan struct{}{
		func() <-chan struct{} { return s.ended },
		func() <-chan struct{} { return s.current().ended() },
	} {
		select {
		case <-ended():
		case <-late.C:
			return fmt.Errorf("controlplane: stop: %w", s.hangs())
		}
	}
	return nil
}

func (s *schedule) hangs() error {
	return fmt.Errorf("the snapshot to %s has not ended: is its disk hung?", s.config.Dir)
}

func (s *schedule) run(ctx context.Context) {
	defer close(s.ended)
	surveyed := s.mine() // and nobody else has the directory
	if err := s.do(ctx, s.survey); err != nil && ctx.Err() == nil {
		s.logger.Warn("the directory of snapshots cannot be read", zap.Error(err))
	}
	timer := s.clock.NewTimer(max(s.rest(), s.soon()))
	defer timer.Stop()
	minute := s.clock.NewTicker(roomTick)
	defer minute.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-minute.C():
			if err := s.relieve(ctx); err != nil && ctx.Err() == nil {
				s.logger.Warn("old snapshots are not deleted, and etcd has too little room beside them", zap.Error(err))
			}
			continue
		case <-s.requested:
			timer.Reset(s.config.Interval)
			continue
		case <-timer.C():
		}
		next := s.config.Interval
		switch {
		case !s.mine():
			// It may become so, long before the next one is due.
			surveyed = false
			next = min(next, snapshotRetry)
		case !surveyed && s.surveyRest(ctx) > 0:
			surveyed = true
			next = s.rest()
		default:
			surveyed = true
			if err := s.do(ctx, s.oneUnless(s.taken.Load())); err != nil && ctx.Err() == nil {
				next = min(next, snapshotRetry)
				s.measured.snapshotFailed()
				s.logger.Error("the snapshot is not taken; it will be tried again", zap.Duration("in", next), zap.Error(err))
			}
		}
		timer.Reset(next)
	}
}

// soon is a random part of snapshotSoon, or of the interval if that is shorter.
func (s *schedule) soon() time.Duration {
	return rand.N(min(s.config.Interval, snapshotSoon)) + 1
}

// rest is the time until the next snapshot is due, by the newest in the directory at
// the last look. It is zero if that is overdue, or its age is unknown.
func (s *schedule) rest() time.Duration {
	stock := s.stock.Load()
	if stock == nil {
		return 0
	}
	newest, ok := stock.newest()
	age := s.clock.Since(newest.time)
	if !ok || age < -futureTolerance {
		return 0
	}
	return max(0, s.config.Interval-max(0, age))
}

// surveyRest is rest after a look at the directory.
func (s *schedule) surveyRest(ctx context.Context) time.Duration {
	err := s.do(ctx, func(ctx context.Context, _ *task) error {
		_, _, err := s.look(ctx)
		return err
	})
	if err != nil {
		return 0 // the snapshot fails for the same reason, and says so
	}
	return s.rest()
}

// oneUnless is one, unless more snapshots than taken have been taken meanwhile.
func (s *schedule) oneUnless(taken int64) func(context.Context, *task) error {
	return func(ctx context.Context, t *task) error {
		if s.taken.Load() > taken {
			return nil
		}
		return s.one(ctx, t)
	}
}

// survey lists the snapshots and warns about names from the future.
func (s *schedule) survey(ctx context.Context, _ *task) error {
	_, present, err := s.look(ctx)
	if err != nil {
		return err
	}
	if future := present.future(s.clock.Now()); len(future) > 0 {
		s.logger.Warn("snapshots have names from the future: the clock is wrong now, or was then; their numbers decide which are the newest",
			zap.Int("snapshots", len(future)), zap.String("one", future[len(future)-1].path), zap.Time("now", s.clock.Now().UTC()))
	}
	return nil
}

// relieve deletes the oldest snapshots where etcd refuses writes because they, and what
// others have written since, take its room.
func (s *schedule) relieve(ctx context.Context) error {
	stock := s.stock.Load()
	if stock == nil || !stock.shared || len(stock.finished) < 2 || !s.room.short() {
		return nil
	}
	return s.do(ctx, func(ctx context.Context, _ *task) error {
		cluster, present, err := s.look(ctx)
		if err != nil {
			return err
		}
		defer func() { _, _ = s.present(cluster) }()
		return s.room.relieve(present, s.logger)
	})
}
