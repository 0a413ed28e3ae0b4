// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// These methods work like controlplane.Server's for the duration of the test. Server
// has more: they stop the control plane or change the members of its etcd cluster,
// which the fixture owns. A test of these starts its own Server with
// controlplane.Start.

// ClientConfig returns a client configuration for an administrator, as
// controlplane.Server.ClientConfig does. Requests end with the test, watches included.
// Later requests fail with an error that names the test.
func (cp *ControlPlane) ClientConfig() *rest.Config {
	return cp.guard(cp.server.ClientConfig())
}

// URL returns the HTTPS address of the API server.
func (cp *ControlPlane) URL() string { return cp.server.URL() }

// CABundle returns the PEM certificates that clients verify the API server with.
func (cp *ControlPlane) CABundle() []byte { return cp.server.CABundle() }

// Done is closed when the control plane has stopped: at the end of its test, after the
// last test of the package if it is shared, or when a part of it failed.
func (cp *ControlPlane) Done() <-chan struct{} { return cp.server.Done() }

// Err returns the reason why the control plane stopped by itself. It is nil while the
// control plane runs and after the fixture has stopped it.
func (cp *ControlPlane) Err() error { return cp.server.Err() }

// Kubeconfig is controlplane.Server.Kubeconfig, until the end of the test.
func (cp *ControlPlane) Kubeconfig(user string, groups ...string) ([]byte, error) {
	if err := cp.endedErr(); err != nil {
		return nil, err
	}
	return cp.server.Kubeconfig(user, groups...)
}

// NodeKubeconfig is controlplane.Server.NodeKubeconfig, until the end of the test.
func (cp *ControlPlane) NodeKubeconfig(name string) ([]byte, error) {
	if err := cp.endedErr(); err != nil {
		return nil, err
	}
	return cp.server.NodeKubeconfig(name)
}

// JoinKubeconfig is controlplane.Server.JoinKubeconfig, until the end of the test.
func (cp *ControlPlane) JoinKubeconfig(ctx context.Context, lifetime time.Duration) ([]byte, error) {
	ctx, cancel, err := cp.untilEnd(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return cp.server.JoinKubeconfig(ctx, lifetime)
}

// RevokeKubeconfig is controlplane.Server.RevokeKubeconfig, until the end of the test.
func (cp *ControlPlane) RevokeKubeconfig(ctx context.Context, kubeconfig []byte) error {
	ctx, cancel, err := cp.untilEnd(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return cp.server.RevokeKubeconfig(ctx, kubeconfig)
}

// RevokeJoinKubeconfig is controlplane.Server.RevokeJoinKubeconfig, until the end of the
// test.
func (cp *ControlPlane) RevokeJoinKubeconfig(ctx context.Context, kubeconfig []byte) error {
	ctx, cancel, err := cp.untilEnd(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return cp.server.RevokeJoinKubeconfig(ctx, kubeconfig)
}

// RevokeNode is controlplane.Server.RevokeNode, until the end of the test.
func (cp *ControlPlane) RevokeNode(ctx context.Context, name string) error {
	ctx, cancel, err := cp.untilEnd(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return cp.server.RevokeNode(ctx, name)
}

// WaitForInformers is controlplane.Server.WaitForInformers, until the end of the test.
func (cp *ControlPlane) WaitForInformers(ctx context.Context, resource schema.GroupResource, resourceVersion string) error {
	ctx, cancel, err := cp.untilEnd(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return cp.server.WaitForInformers(ctx, resource, resourceVersion)
}

// Snapshot is controlplane.Server.Snapshot, until the end of the test.
func (cp *ControlPlane) Snapshot(ctx context.Context, w io.Writer) error {
	ctx, cancel, err := cp.untilEnd(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return cp.server.Snapshot(ctx, w)
}

// Checkpoint is controlplane.Server.Checkpoint, until the end of the test. Reset needs
// none: it goes back to the state right after the start.
func (cp *ControlPlane) Checkpoint(ctx context.Context) (*Checkpoint, error) {
	ctx, cancel, err := cp.untilEnd(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	checkpoint, err := cp.server.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	return &Checkpoint{cp, checkpoint}, nil
}

// Checkpoint is a controlplane.Checkpoint for the duration of the test that took it.
type Checkpoint struct {
	cp         *ControlPlane
	checkpoint *checkpoint
}

// Rollback is controlplane.Checkpoint.Rollback, until the end of the test. As for Reset,
// other tests must not use the control plane meanwhile.
func (c *Checkpoint) Rollback(ctx context.Context) error {
	ctx, cancel, err := c.cp.untilEnd(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return c.checkpoint.Rollback(ctx)
}

// untilEnd returns a copy of ctx that also ends with the test, with the test's end as its
// cause, or an error if the test has ended.
func (cp *ControlPlane) untilEnd(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := cp.endedErr(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(cp.ctx, func() { cancel(context.Cause(cp.ctx)) })
	return ctx, func() { stop(); cancel(nil) }, nil
}
