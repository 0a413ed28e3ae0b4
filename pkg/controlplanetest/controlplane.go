// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ControlPlane is a test's handle on a running control plane: its own, or the one that
// the tests of a package share. It has the methods of controlplane.Server that a test
// needs, but no Close: the fixture stops the control plane. After the end of the test,
// calls and requests fail with an error that names the test. Its methods are safe for
// concurrent use.
type ControlPlane struct {
	// plane is the running control plane. The tests of a shared one have it in common.
	*plane
	// test is the test's name for messages. node is what TB.Name returned, which is
	// empty for some of Ginkgo's nodes.
	test, node string
	// shared reports whether other tests have the same plane.
	shared bool
	// ctx ends with the test. Its cause is the error of every later call.
	ctx    context.Context
	expire context.CancelCauseFunc
	// began marks where the logs of this test begin.
	began marks
	// failures are the tests that OnFailure has been called for.
	failures failures
}

// New starts a control plane and returns when it is ready. The control plane stops when
// the test ends, after the cleanup functions that the test registers later. A start that
// fails or times out fails the test.
func New(t TB, cfg Config) *ControlPlane {
	t.Helper()
	p, err := start(nameOf(t), cfg)
	if err != nil {
		t.Fatalf("%v%s", err, p.log.report(0, time.Time{}))
	}
	cp := p.view(t, false)
	// Package testing holds the cleanups of a parallel test until all tests have ended.
	held := cp
	atEnd(t, func(ctx context.Context) {
		t.Helper()
		held.finish(ctx, t)
		held = nil
	})
	return cp
}

// view returns the handle of a test.
func (p *plane) view(t TB, shared bool) *ControlPlane {
	cp := &ControlPlane{plane: p, node: t.Name(), shared: shared, began: p.marks()}
	cp.test = nameOf(t)
	cp.ctx, cp.expire = context.WithCancelCause(context.Background())
	return cp
}

// finish ends the test's use of the control plane. The dump, the kept control plane and
// the log come before the stop. Errorf comes last, because Ginkgo's does not return.
func (cp *ControlPlane) finish(ctx context.Context, t TB) {
	t.Helper()
	end := time.Now() // of the log that is shown
	var errs []error
	if err := cp.server.Err(); err != nil {
		errs = append(errs, fmt.Errorf("controlplanetest: the control plane stopped by itself: %w", err))
	}
	v := cp.verdict(ctx, t)
	// OnFailure may have shown all failures already.
	tests := v.specs
	if len(tests) == 0 {
		tests = []string{cp.test}
	}
	failed := len(errs) > 0 || v.failed && !cp.failures.all(tests)
	if failed || v.unknown {
		errs = append(errs, cp.dump(cp.test, end, func(text string) {
			t.Helper()
			if v.unknown {
				text += " (this version of Ginkgo does not report failed specs to the fixture: call OnFailure in JustAfterEach)"
			}
			say(t, dumpedAs, strings.TrimSpace(text+"\n"+failedSpecs(v.specs)))
		}))
	}
	if failed {
		cp.plane.examined.Store(true)
		errs = append(errs, cp.keep(ctx, cp.test))
	}
	cp.expire(&endedError{cp.test, cp.shared})
	if !cp.shared {
		if err := cp.stop(); err != nil {
			errs, end = append(errs, err), time.Time{} // the log may say why
		}
	}
	if panicking() {
		stopAll()
	}
	err := errors.Join(errs...)
	if failed || err != nil {
		if report := cp.log.report(max(cp.began.log, cp.failures.shown()), end); report != "" {
			say(t, loggedAs, report)
		}
	}
	if err != nil {
		t.Errorf("%v", err)
	}
}

// endedError is the error of calls and requests after the end of a test.
type endedError struct {
	test   string
	shared bool
}

func (e *endedError) Error() string {
	if e.shared {
		return fmt.Sprintf("controlplanetest: %s has ended: its clients of the shared control plane are closed", e.test)
	}
	return fmt.Sprintf("controlplanetest: %s has ended: its control plane is stopped", e.test)
}

// requireLive fails t if the test that owns cp has ended.
func (cp *ControlPlane) requireLive(t TB) {
	t.Helper()
	if err := cp.endedErr(); err != nil {
		t.Fatalf("%v", err)
	}
}

// endedErr returns an error if the test has ended.
func (cp *ControlPlane) endedErr() error {
	if cp.ctx.Err() != nil {
		return context.Cause(cp.ctx)
	}
	return nil
}
