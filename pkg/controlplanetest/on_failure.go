// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// OnFailure logs, dumps and keeps the control plane at once if t has failed, as Config
// requests, instead of at the end of the test that owns it. Use it in tests that use
// another test's control plane: subtests, and Ginkgo specs where BeforeSuite or BeforeAll
// owns the control plane. The dump is named after t, and shows the state before other
// tests and cleanups change it:
//
//	var _ = JustAfterEach(func() { cp.OnFailure(GinkgoT()) })
//
// OnFailure does nothing if t has not failed, on a second call for the same test, on a
// nil ControlPlane, and after the end of the owning test. Namespace(t) calls it at the
// end of t. It is safe for concurrent use.
func (cp *ControlPlane) OnFailure(t TB) {
	t.Helper()
	if cp == nil || !t.Failed() || cp.endedErr() != nil {
		return
	}
	name := nameOf(t)
	if !cp.failures.add(name) {
		return
	}
	cp.examine(context.Background(), t, name, time.Now())
}

// failures are the tests for which OnFailure has run.
type failures struct {
	mu    sync.Mutex
	names []string
	log   int // the next line of the log to show
	kept  bool
}

func (f *failures) add(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Contains(f.names, name) {
		return false
	}
	f.names = append(f.names, name)
	return true
}

// all reports whether OnFailure has run for each of names.
func (f *failures) all(names []string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(f.names, name) })
}

// shown returns the next line of the log to show.
func (f *failures) shown() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log
}

// show sets the next line of the log to show, and returns the one before.
func (f *failures) show(next int) (before int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, f.log = f.log, next
	return before
}

// keepOnce reports whether this is its first call.
func (f *failures) keepOnce() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.kept
	f.kept = true
	return !before
}

// examine logs, dumps and keeps the control plane for a test that does not own it.
func (cp *ControlPlane) examine(ctx context.Context, t TB, name string, end time.Time) {
	t.Helper()
	cp.plane.examined.Store(true)
	err := errors.Join(cp.dump(name, end, func(text string) { say(t, dumpedAs, text) }), cp.keep(ctx, name))
	if report := cp.log.report(max(cp.began.log, cp.failures.show(cp.log.next())), end); report != "" {
		say(t, loggedAs, report)
	}
	if err != nil {
		t.Errorf("%v", err)
	}
}

const (
	dumpedAs = "state of the control plane dumped to "
	loggedAs = "log of the control plane:"
)

// nameOf returns the name of a test for messages.
func nameOf(t TB) string {
	switch name := t.Name(); {
	case name != "":
		return name
	case asGinkgo(t) != nil:
		return suiteNode
	default:
		return "the test"
	}
}

// watch calls OnFailure at the end of a test that uses another test's control plane,
// before the cleanup functions that are registered already.
func (cp *ControlPlane) watch(t TB) {
	t.Helper()
	if nameOf(t) == cp.test {
		return
	}
	t.Cleanup(func() {
		t.Helper()
		cp.OnFailure(t)
	})
}

// failedSpecs lists specs for a message.
func failedSpecs(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "failed: " + strings.Join(names, "; ")
}
