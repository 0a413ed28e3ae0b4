// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// teardownGrace is how long a step may still run after the context of Unwind has ended.
const teardownGrace = time.Second

// Teardown is a stack of steps that undo a start. Each step of the start pushes the step
// that undoes it. A failed start unwinds exactly the steps that it has taken, and a stop
// unwinds all. The zero value is an empty stack. It is safe for concurrent use.
type Teardown struct {
	mu    sync.Mutex
	steps []teardownStep
}

type teardownStep struct {
	name string
	stop func(context.Context) error
}

// Push adds a step, to run before the steps that are already there. name begins the
// step's errors. A step that is pushed after Unwind waits for the next Unwind.
func (t *Teardown) Push(name string, stop func(context.Context) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, teardownStep{name, stop})
}

// Unwind runs the steps, the latest first, and removes them: a second call returns nil.
// It runs every step, also after errors and after ctx has ended, and returns all errors
// joined. A panic of a step is its error. A step that has not returned one second after
// ctx has ended is left running in its goroutine, and Unwind continues with the next
// one.
func (t *Teardown) Unwind(ctx context.Context) error {
	var errs []error
	for {
		step, ok := t.pop()
		if !ok {
			return errors.Join(errs...)
		}
		if err := step.run(ctx); err != nil {
			errs = append(errs, step.named(err))
		}
	}
}

func (t *Teardown) pop() (teardownStep, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.steps) == 0 {
		return teardownStep{}, false
	}
	last := len(t.steps) - 1
	step := t.steps[last]
	t.steps = slices.Delete(t.steps, last, last+1)
	return step, true
}

// named returns err with the name of the step, unless err begins with it.
func (s teardownStep) named(err error) error {
	prefix := s.name + ": "
	if strings.HasPrefix(err.Error(), prefix) {
		return err
	}
	return fmt.Errorf("%s%w", prefix, err)
}

func (s teardownStep) run(ctx context.Context) error {
	done := contained(func() error { return s.stop(ctx) })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace := time.NewTimer(teardownGrace)
	defer grace.Stop()
	select {
	case err := <-done:
		return err
	case <-grace.C:
		return fmt.Errorf("still running: %w", context.Cause(ctx))
	}
}
