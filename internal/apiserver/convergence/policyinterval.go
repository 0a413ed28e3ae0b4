// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence

import (
	"sync"
	"time"

	policy "k8s.io/apiserver/pkg/admission/plugin/policy/generic"
)

// policyInterval is the pause between two passes in which admission compiles policies,
// in a process that has API servers. Upstream's is a second. A pass begins when policies
// have changed: see informers.Blocking.
const policyInterval = 20 * time.Millisecond

// processPolicies is the refresh interval of this process.
var processPolicies = policyRefresh{set: policy.SetPolicyRefreshIntervalForTests}

// ShortenPolicyInterval lets the policies of API servers that are made before the call of
// release come into force soon after they change. Calling release again has no effect.
func ShortenPolicyInterval() (release func()) { return processPolicies.shorten() }

// PolicyIntervalUsers returns the number of callers of ShortenPolicyInterval that have
// not called release, for tests.
func PolicyIntervalUsers() int {
	processPolicies.mu.Lock()
	defer processPolicies.mu.Unlock()
	return processPolicies.users
}

// policyRefresh shortens upstream's refresh interval, which is per process, while there
// are API servers. It is safe for concurrent use.
type policyRefresh struct {
	set func(time.Duration) (restore func())

	mu      sync.Mutex
	users   int
	restore func()
}

func (p *policyRefresh) shorten() (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users++; p.users == 1 {
		p.restore = p.set(policyInterval)
	}
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.users--; p.users == 0 {
			p.restore()
		}
	})
}
