// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"time"
)

// resetTimeout bounds Reset, which takes milliseconds unless clients keep writing.
const resetTimeout = 30 * time.Second

// takeBaseline records the state that Reset restores.
func (p *plane) takeBaseline(ctx context.Context) (err error) {
	p.baseline, err = p.server.Checkpoint(ctx)
	return err
}

// Reset restores the state that the first test got: namespaces, cluster-scoped objects,
// CRDs and custom resources, webhooks, and the objects of the control plane itself. It
// takes milliseconds, and some tens of milliseconds if CRDs or admission policies were
// installed. Nothing is restarted: watches and informers see the changes as events, and
// finalizers are ignored. See controlplane.Checkpoint.Rollback, also for the few objects
// that it leaves as they are.
//
// Other tests must not use the control plane meanwhile, so Reset is not for tests that
// run in parallel. Stop the test's managers and controllers first: if a client keeps
// writing for 30 seconds, Reset fails the test and names the objects that change. A
// typical use is
//
//	cp := controlplanetest.Shared(t)
//	t.Cleanup(func() { cp.Reset(t) })
func (cp *ControlPlane) Reset(t TB) {
	t.Helper()
	cp.requireLive(t)
	ctx, cancel := context.WithTimeout(cp.ctx, resetTimeout)
	defer cancel()
	if err := cp.baseline.Rollback(ctx); err != nil {
		t.Fatalf("controlplanetest: Reset: %v", err)
	}
}
