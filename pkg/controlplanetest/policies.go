// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"sync"
	"time"

	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
)

// policyInterval is how often admission looks for changed policies in a process that
// has running fixtures. Upstream looks once a second. Each test of a policy would wait
// for that, and so would Reset.
const policyInterval = 20 * time.Millisecond

// processPolicies is the refresh interval of this process.
var processPolicies = policyRefresh{set: generic.SetPolicyRefreshIntervalForTests}

// policyRefresh shortens upstream's refresh interval, which is per process, while there
// are fixtures. It is safe for concurrent use.
type policyRefresh struct {
	set func(time.Duration) (restore func())

	mu      sync.Mutex
	users   int
	restore func()
}

// shorten sets policyInterval until the last caller calls release. Calling release again
// has no effect.
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
