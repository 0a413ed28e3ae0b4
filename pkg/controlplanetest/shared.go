// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

var shared struct {
	sync.Mutex
	config *Config // of Main
	plane  *plane
	err    error
	views  map[string]*ControlPlane // by the name of a running test
}

// mainTest is the name of the test that owns the shared control plane.
const mainTest = "TestMain"

// Main runs the tests of a package that shares one control plane, and returns the exit
// code:
//
//	func TestMain(m *testing.M) {
//		os.Exit(controlplanetest.Main(m, controlplanetest.Config{}))
//	}
//
// The control plane starts at the first call of Shared and stops after the last test.
// Errors of the stop go to standard error, because no test is left to report them, and
// make the exit code 1. If tests failed and none of them had called Shared, Main writes
// the log to standard error and applies DumpOnFailure and KeepOnFailure.
func Main(m interface{ Run() int }, cfg Config) int {
	shared.Lock()
	shared.config = &cfg
	shared.Unlock()
	// Also if Run panics. Otherwise the control plane has stopped by then.
	defer func() { _ = endShared() }()
	code := m.Run()
	if err := errors.Join(examineShared(code), endShared()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}

// examineShared logs, dumps and keeps the control plane for failures of tests that have
// not called Shared, but used the result of another test's call.
func examineShared(code int) error {
	shared.Lock()
	p := shared.plane
	shared.Unlock()
	if code == 0 || p == nil || p.examined.Load() {
		return nil
	}
	end := time.Now()
	cp := &ControlPlane{plane: p, test: mainTest, shared: true}
	cp.ctx, cp.expire = context.WithCancelCause(context.Background())
	defer cp.expire(nil)
	dumped := cp.dump(cp.test, end, func(text string) {
		fmt.Fprintf(os.Stderr, "controlplanetest: %s%s\n", dumpedAs, text)
	})
	kept := cp.keep(cp.ctx, "a test")
	if report := p.log.report(0, end); report != "" {
		fmt.Fprintf(os.Stderr, "controlplanetest: %s%s\n", loggedAs, report)
	}
	return errors.Join(dumped, kept)
}

func endShared() error {
	shared.Lock()
	defer shared.Unlock()
	p := shared.plane
	shared.config, shared.plane, shared.err, shared.views = nil, nil, nil, nil
	if p == nil {
		return nil
	}
	return p.stop()
}

// Shared returns the control plane that the tests of the package share. TestMain must
// call Main. Give each test its own Namespace, or call Reset between tests that do not
// run in parallel.
//
// A failed start is not retried: each test that calls Shared fails with its error. If the
// control plane stops by itself, the tests that use it fail, and the next test gets a new
// one.
func Shared(t TB) *ControlPlane {
	t.Helper()
	cp, isNew, err := sharedView(t)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if isNew {
		atEnd(t, func(ctx context.Context) {
			t.Helper()
			shared.Lock()
			delete(shared.views, cp.node)
			shared.Unlock()
			cp.finish(ctx, t)
		})
	}
	return cp
}

// sharedView returns the same handle to each call of a test, so that a failure is
// reported once.
func sharedView(t TB) (cp *ControlPlane, isNew bool, err error) {
	test := t.Name()
	shared.Lock()
	defer shared.Unlock()
	if shared.config == nil {
		return nil, false, fmt.Errorf("controlplanetest: Shared needs Main to run the tests: add to the package\n\n" +
			"\tfunc TestMain(m *testing.M) {\n" +
			"\t\tos.Exit(controlplanetest.Main(m, controlplanetest.Config{}))\n" +
			"\t}")
	}
	if cp := shared.views[test]; cp != nil && cp.plane == shared.plane && !shared.plane.dead() {
		return cp, false, nil
	}
	if shared.plane != nil && shared.plane.dead() {
		_ = shared.plane.stop()
		shared.plane = nil
	}
	if shared.plane == nil && shared.err == nil {
		p, err := start(mainTest, *shared.config)
		if err != nil {
			shared.err = fmt.Errorf("%w%s", err, p.log.report(0, time.Time{}))
		} else {
			shared.plane, shared.views = p, map[string]*ControlPlane{}
		}
	}
	if shared.err != nil {
		return nil, false, shared.err
	}
	cp = shared.plane.view(t, true)
	shared.views[test] = cp
	return cp, true, nil
}

// dead reports whether the control plane has stopped.
func (p *plane) dead() bool {
	select {
	case <-p.server.Done():
		return true
	default:
		return false
	}
}
