package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// ControlPlane is what one test has of a running control plane: its own, or one
// that the tests of a package share. After the end of the test its methods, and
// the clients that it has made, fail with an error that names the test. Its
// methods are safe for concurrent use.
type ControlPlane struct {
	*controlplane.Server

	// plane is what the tests of a shared control plane have in common.
	*plane
	// test is the name of the test, and node what its TB says that it is, which is
	// empty for some of Ginkgo's.
	test, node string
	// shared is whether others have the plane too.
	shared bool
	// ctx ends with the test. Its cause is the error of everything later.
	ctx    context.Context
	expire context.CancelCauseFunc
	// began tells what in the logs is of this test's time.
	began marks
	// failures are the tests that OnFailure has been called for.
	failures failures
}

// New starts a control plane, and returns when it is ready. It stops at the end
// of the test, after the cleanup functions that are registered later. A start
// that fails, or takes longer than three minutes, fails the test.
func New(t TB, cfg Config) *ControlPlane {
	t.Helper()
	p, err := start(cfg)
	if err != nil {
		t.Fatalf("%v%s", err, p.log.report(0, time.Time{}))
	}
	cp := p.view(t, false)
	// Package testing keeps the cleanups of a parallel test until all have ended.
	held := cp
	atEnd(t, func(ctx context.Context) {
		t.Helper()
		held.finish(ctx, t)
		held = nil
	})
	return cp
}

// view is what a test has of the control plane.
func (p *plane) view(t TB, shared bool) *ControlPlane {
	cp := &ControlPlane{Server: p.server, plane: p, node: t.Name(), shared: shared, began: p.marks()}
	cp.test = nameOf(t)
	cp.ctx, cp.expire = context.WithCancelCause(context.Background())
	return cp
}

// finish is the end of the test: first what helps to understand why it failed.
// Errorf comes last, as Ginkgo's does not return.
func (cp *ControlPlane) finish(ctx context.Context, t TB) {
	t.Helper()
	end := time.Now() // of the log that is shown
	var errs []error
	if err := cp.Err(); err != nil {
		errs = append(errs, fmt.Errorf("controlplanetest: the control plane has stopped by itself: %w", err))
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
			if v.unknown {
				text += " (this version of Ginkgo does not tell whether a spec has failed: call OnFailure in JustAfterEach)"
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

// endedError is what becomes of requests after the end of a test.
type endedError struct {
	test   string
	shared bool
}

func (e *endedError) Error() string {
	if e.shared {
		return fmt.Sprintf("controlplanetest: %s has ended, and with it its clients of the shared control plane", e.test)
	}
	return fmt.Sprintf("controlplanetest: %s has ended, and with it its control plane", e.test)
}

// live fails a test that uses a control plane after its end.
func (cp *ControlPlane) live(t TB) {
	t.Helper()
	if err := cp.over(); err != nil {
		t.Fatalf("%v", err)
	}
}

// over is an error after the end of the test.
func (cp *ControlPlane) over() error {
	if cp.ctx.Err() != nil {
		return context.Cause(cp.ctx)
	}
	return nil
}

// ClientConfig returns a client configuration for an administrator, as
// controlplane.Server.ClientConfig does. At the end of the test requests in
// flight end, watches too, and later ones fail, with an error that names it.
func (cp *ControlPlane) ClientConfig() *rest.Config {
	return cp.guard(cp.Server.ClientConfig())
}

// Kubeconfig is controlplane.Server.Kubeconfig, until the end of the test.
func (cp *ControlPlane) Kubeconfig(user string, groups ...string) ([]byte, error) {
	if err := cp.over(); err != nil {
		return nil, err
	}
	return cp.Server.Kubeconfig(user, groups...)
}

// NodeKubeconfig is controlplane.Server.NodeKubeconfig, until the end of the test.
func (cp *ControlPlane) NodeKubeconfig(name string) ([]byte, error) {
	if err := cp.over(); err != nil {
		return nil, err
	}
	return cp.Server.NodeKubeconfig(name)
}

// JoinKubeconfig is controlplane.Server.JoinKubeconfig, until the end of the test.
func (cp *ControlPlane) JoinKubeconfig(ctx context.Context, lifetime time.Duration) ([]byte, error) {
	if err := cp.over(); err != nil {
		return nil, err
	}
	return cp.Server.JoinKubeconfig(ctx, lifetime)
}

// RevokeJoinKubeconfig is controlplane.Server.RevokeJoinKubeconfig, until the
// end of the test.
func (cp *ControlPlane) RevokeJoinKubeconfig(ctx context.Context, kubeconfig []byte) error {
	if err := cp.over(); err != nil {
		return err
	}
	return cp.Server.RevokeJoinKubeconfig(ctx, kubeconfig)
}

// RevokeNode is controlplane.Server.RevokeNode, until the end of the test.
func (cp *ControlPlane) RevokeNode(ctx context.Context, name string) error {
	if err := cp.over(); err != nil {
		return err
	}
	return cp.Server.RevokeNode(ctx, name)
}
