package lifecycle

import (
	"context"
	"fmt"
	"runtime/pprof"
	"strconv"
	"sync/atomic"

	"github.com/kubembed/kubembed/internal/lifecycle/selfending"
)

// setLabel is the profiler label that the goroutines of a Family carry.
const setLabel = "kubembed"

var lastSetID atomic.Int64

// GoroutineSet is every goroutine that a function starts, those that they start, and
// so on. It is for code that starts goroutines and offers no way to wait for
// them, which upstream's controllers are. It works through the profiler's
// labels, which a goroutine inherits from the one that starts it; they show in
// the host's profiles which work is a control plane's.
type GoroutineSet struct{ id string }

// NewGoroutineSet returns an empty family.
func NewGoroutineSet() *GoroutineSet {
	return &GoroutineSet{id: strconv.FormatInt(lastSetID.Add(1), 10)}
}

// Has reports whether a goroutine with these profiler labels is of the family.
func (s *GoroutineSet) Has(labels map[string]string) bool { return labels[setLabel] == s.id }

// Do runs f in this goroutine. What it starts belongs to the family.
func (s *GoroutineSet) Do(ctx context.Context, fn func()) {
	pprof.Do(ctx, pprof.Labels(setLabel, s.id), func(context.Context) { fn() })
}

// Adopt makes the calling goroutine, and what it starts from now on, the
// family's and no other's.
func (s *GoroutineSet) Adopt() {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(setLabel, s.id)))
}

// Wait returns when no goroutine of the family runs, except selfending ones, or with an
// error that names one that does when ctx ends. Nothing of the family may call it.
func (s *GoroutineSet) Wait(ctx context.Context) error {
	var running int
	var example string
	var unknown error
	err := Poll(ctx, func() bool {
		running, example, unknown = s.running()
		return unknown != nil || running == 0
	})
	if unknown != nil {
		return fmt.Errorf("goroutines that may still run: %w", unknown)
	}
	if err != nil {
		return fmt.Errorf("%d goroutines still running, one of them %s: %w", running, example, err)
	}
	return nil
}

// running counts the goroutines of the family, and names where one of them began.
func (s *GoroutineSet) running() (count int, example string, err error) {
	all, err := AllGoroutines()
	if err != nil {
		return 0, "", err
	}
	for _, g := range all {
		if s.Has(g.Labels) && !selfending.Any(g.Stack) {
			count += g.Count
			example = g.outermost()
		}
	}
	return count, example, nil
}
