// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence

import (
	"testing"
	"time"
)

// TestPolicyIntervalIsRestored: the refresh interval of the process is upstream's again
// after the last server has stopped.
func TestPolicyIntervalIsRestored(t *testing.T) {
	t.Parallel()
	const upstreams = time.Second
	interval := upstreams
	p := policyRefresh{set: func(d time.Duration) func() {
		interval = d
		return func() { interval = upstreams }
	}}
	for range 2 {
		first, second := p.shorten(), p.shorten()
		first()
		first()
		if interval != policyInterval {
			t.Errorf("with a running server: got %s, want %s", interval, policyInterval)
		}
		second()
		if interval != upstreams {
			t.Errorf("after the last server: got %s, want %s", interval, upstreams)
		}
	}
}
