// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"testing"
	"time"
)

// TestPolicyIntervalIsRestored: the refresh interval of the process is upstream's again
// after the last fixture has stopped. It used to stay short for good.
func TestPolicyIntervalIsRestored(t *testing.T) {
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
			t.Errorf("with a running fixture: got %s, want %s", interval, policyInterval)
		}
		second()
		if interval != upstreams {
			t.Errorf("after the last fixture: got %s, want %s", interval, upstreams)
		}
	}
}

// TestStopReleasesThePolicyInterval: a plane that has stopped no longer counts.
func TestStopReleasesThePolicyInterval(t *testing.T) {
	released := 0
	p := &plane{backend: backend{releasePolicies: func() { released++ }}}
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	if released != 1 {
		t.Errorf("got %d releases, want 1", released)
	}
}
