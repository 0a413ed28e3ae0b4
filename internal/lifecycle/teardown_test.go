// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

func TestTeardownUnwindsInReverseAndCollectsErrors(t *testing.T) {
	var stack lifecycle.Teardown
	var ran []string
	broken := errors.New("broken")
	push := func(name string, err error) {
		stack.Push(name, func(context.Context) error {
			ran = append(ran, name)
			return err
		})
	}
	push("first", nil)
	push("second", broken)
	push("third", context.DeadlineExceeded)
	err := stack.Unwind(context.Background())
	if want := []string{"third", "second", "first"}; !slices.Equal(ran, want) {
		t.Errorf("got steps %v, want %v", ran, want)
	}
	if !errors.Is(err, broken) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v, want those of both steps", err)
	}
	if want := "third: context deadline exceeded\nsecond: broken"; err == nil || err.Error() != want {
		t.Errorf("got error %q, want %q", err, want)
	}
	if err := stack.Unwind(context.Background()); err != nil || len(ran) != 3 {
		t.Errorf("second Unwind: got error %v and steps %v, want neither", err, ran)
	}
}

// TestTeardownNamesAStepOnce: the error of a step may begin with its name.
func TestTeardownNamesAStepOnce(t *testing.T) {
	var stack lifecycle.Teardown
	stack.Push("etcd", func(context.Context) error { return errors.New("etcd: close: hung") })
	stack.Push("etcd", func(context.Context) error { return errors.New("etcdctl: hung") })
	err := stack.Unwind(context.Background())
	if want := "etcd: etcdctl: hung\netcd: close: hung"; err == nil || err.Error() != want {
		t.Errorf("got error %q, want %q", err, want)
	}
}

// TestTeardownContainsSteps: steps call code of the host's.
func TestTeardownContainsSteps(t *testing.T) {
	var stack lifecycle.Teardown
	ran := false
	stack.Push("last", func(context.Context) error { ran = true; return nil })
	stack.Push("panics", func(context.Context) error { panic("mine") })
	stack.Push("exits", func(context.Context) error { runtime.Goexit(); return nil })
	err := stack.Unwind(context.Background())
	if err == nil || !strings.HasPrefix(err.Error(), "exits: its goroutine was ended\npanics: panicked: mine\n") || !strings.Contains(err.Error(), "teardown_test.go") {
		t.Errorf("got error %v", err)
	}
	if !ran {
		t.Error("the last step has not run")
	}
	err = lifecycle.Within(time.Hour, "part", func() error { panic("mine") })
	if err == nil || !strings.HasPrefix(err.Error(), "panicked: mine\n") {
		t.Errorf("Within: got error %v", err)
	}
}

func TestTeardownUnwindsAnEmptyStack(t *testing.T) {
	var stack lifecycle.Teardown
	if err := stack.Unwind(ended()); err != nil {
		t.Error(err)
	}
}

func TestTeardownRunsStepsThatAStepPushes(t *testing.T) {
	var stack lifecycle.Teardown
	ran := false
	stack.Push("outer", func(context.Context) error {
		stack.Push("inner", func(context.Context) error { ran = true; return nil })
		return nil
	})
	if err := stack.Unwind(context.Background()); err != nil || !ran {
		t.Errorf("got error %v, ran %v, want the inner step to run", err, ran)
	}
}

func TestTeardownContinuesPastAStepThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stack lifecycle.Teardown
		release := make(chan struct{})
		ran := false
		stack.Push("last", func(context.Context) error { ran = true; return nil })
		stack.Push("hung", func(context.Context) error { <-release; return nil })
		err := stack.Unwind(ended())
		if !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "hung: still running") {
			t.Errorf("got error %v, want one that names the step", err)
		}
		if !ran {
			t.Error("the step after the one that hangs did not run")
		}
		close(release)
	})
}

func TestTeardownWaitsForAStepThatHeedsTheContext(t *testing.T) {
	stopped := errors.New("2 requests still running")
	var stack lifecycle.Teardown
	stack.Push("requests", func(ctx context.Context) error { <-ctx.Done(); return stopped })
	if err := stack.Unwind(ended()); !errors.Is(err, stopped) {
		t.Errorf("got error %v, want the step's own", err)
	}
}
