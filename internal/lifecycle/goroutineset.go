// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"fmt"
	"runtime/pprof"
	"strconv"
	"sync/atomic"

	"github.com/kubembed/kubembed/internal/lifecycle/selfending"
)

// setLabel is the profiler label of the goroutines in a GoroutineSet.
const setLabel = "kubembed"

var lastSetID atomic.Int64

// GoroutineSet is the set of all goroutines that a function starts, directly or
// indirectly. It is for code that starts goroutines and offers no way to wait for them,
// like upstream's controllers. A set works through profiler labels, which a goroutine
// inherits from its parent. In the host's profiles the labels show the work of control
// planes.
type GoroutineSet struct{ id string }

// NewGoroutineSet returns an empty set.
func NewGoroutineSet() *GoroutineSet {
	return &GoroutineSet{id: strconv.FormatInt(lastSetID.Add(1), 10)}
}

// Has reports whether a goroutine with these profiler labels belongs to the set.
func (s *GoroutineSet) Has(labels map[string]string) bool { return labels[setLabel] == s.id }

// Do runs fn in this goroutine. Goroutines that fn starts belong to the set.
func (s *GoroutineSet) Do(ctx context.Context, fn func()) {
	pprof.Do(ctx, pprof.Labels(setLabel, s.id), func(context.Context) { fn() })
}

// Adopt moves the calling goroutine, and goroutines that it starts from now on, to this
// set from any other.
func (s *GoroutineSet) Adopt() {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(setLabel, s.id)))
}

// Wait returns when no goroutine of the set is running, except selfending ones. If ctx
// ends first, it returns an error that names a running goroutine. Goroutines of the set
// must not call it.
func (s *GoroutineSet) Wait(ctx context.Context) error {
	var running int
	var example string
	var unknown error
	err := Poll(ctx, func() bool {
		running, example, unknown = s.running()
		return unknown != nil || running == 0
	})
	if unknown != nil {
		return fmt.Errorf("list goroutines: %w", unknown)
	}
	if err != nil {
		return fmt.Errorf("%d goroutines still running, one of them %s: %w", running, example, err)
	}
	return nil
}

// running counts the running goroutines of the set, and returns the start function of
// one.
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
