package controlplanetest

import (
	"context"
	"errors"
	"fmt"
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
	// test is the name of the test, and shared whether others have the plane too.
	test   string
	shared bool
	// ctx ends with the test. Its cause is the error of everything later.
	ctx    context.Context
	expire context.CancelCauseFunc
	// began tells what in the logs is of this test's time.
	began marks
}

// New starts a control plane, and returns when it is ready. It stops at the end
// of the test, after the cleanup functions that are registered later. A start
// that fails, or takes longer than three minutes, fails the test.
func New(t TB, cfg Config) *ControlPlane {
	t.Helper()
	p, err := start(cfg)
	if err != nil {
		t.Fatalf("%v%s", err, p.log.report(0))
	}
	cp := p.view(t.Name(), false)
	// Package testing keeps the cleanups of a parallel test until all have ended.
	held := cp
	t.Cleanup(func() {
		t.Helper()
		held.finish(t)
		held = nil
	})
	return cp
}

// view is what a test has of the control plane.
func (p *plane) view(test string, shared bool) *ControlPlane {
	cp := &ControlPlane{Server: p.server, plane: p, test: test, shared: shared, began: p.marks()}
	cp.ctx, cp.expire = context.WithCancelCause(context.Background())
	if test == "" {
		cp.test = "the test" // of a Ginkgo node that is no spec
	}
	return cp
}

// finish is the end of the test: first what helps to understand why it failed.
// Errorf comes last, as Ginkgo's does not return.
func (cp *ControlPlane) finish(t TB) {
	t.Helper()
	var errs []error
	if err := cp.Err(); err != nil {
		errs = append(errs, fmt.Errorf("controlplanetest: the control plane has stopped by itself: %w", err))
	}
	if t.Failed() || len(errs) > 0 {
		errs = append(errs, cp.dump(t), cp.keep())
	}
	cp.expire(&endedError{cp.test, cp.shared})
	if !cp.shared {
		errs = append(errs, cp.stop())
	}
	if panicking() {
		stopAll()
	}
	err := errors.Join(errs...)
	if t.Failed() || err != nil {
		if report := cp.log.report(cp.began.log); report != "" {
			t.Logf("controlplanetest: log of the control plane:%s", report)
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
