package controlplanetest

import (
	"context"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
)

// resetTimeout is when Reset gives up. It takes milliseconds, and waits long only
// for clients that go on writing.
const resetTimeout = 30 * time.Second

// policyInterval is how often admission looks for policies that have changed, in a
// process that has fixtures. Upstream looks once a second, which each test of a
// policy would wait for, and so would Reset.
const policyInterval = 20 * time.Millisecond

var hurryPolicies = sync.OnceFunc(func() { generic.SetPolicyRefreshIntervalForTests(policyInterval) })

// takeBaseline remembers what the control plane begins with.
func (p *plane) takeBaseline(ctx context.Context) (err error) {
	p.baseline, err = p.server.Checkpoint(ctx)
	return err
}

// Reset brings the control plane back to the state in which the first test got it,
// whatever has been created, changed or deleted since: namespaces, cluster-scoped
// objects, custom resources and their definitions, webhooks, what the control
// plane itself had created. It takes milliseconds, and some tens of milliseconds
// where custom resources were defined or admission policies were installed.
// Nothing is restarted: watches and informers see what goes and what comes back,
// and finalizers keep nothing. See controlplane.Checkpoint.Restore, also for the
// little that stays.
//
// Other tests must not use the control plane meanwhile, so that Reset is not for
// tests that run in parallel. Stop managers and controllers of the test before:
// when something goes on writing for 30 seconds, Reset fails the test and names
// what changes. A typical use is
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
