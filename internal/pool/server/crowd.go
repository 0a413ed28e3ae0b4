// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"slices"
	"time"
)

const (
	// crowdPatience is the least time for which a waiter relies on the leases of a crowd,
	// and maxPatience the most: starts take long when there is too little memory.
	crowdPatience = 2 * time.Second
	maxPatience   = 10 * time.Second
)

// serveWaiters starts control planes for waiters without a pending start or reset, as
// many at once as there are processors.
func (p *pool) serveWaiters() {
	var again []time.Duration
	for _, g := range p.recent() {
		for p.starts < p.maxStarts && g.starts+g.resets < len(g.waiters) {
			if patience := p.patience(g); patience > 0 {
				again = append(again, patience)
				break
			}
			if p.start(g) {
				continue
			}
			for _, waiter := range g.waiters {
				waiter <- started{err: errStopping}
			}
			g.waiters = nil
		}
	}
	if len(again) > 0 {
		p.late.Reset(slices.Min(again))
	}
}

// countLease counts a lease that begins.
func (p *pool) countLease(g *group) {
	g.leased++
	if p.count() <= p.crowd {
		g.moved = time.Now()
	}
}

// patience returns the time for which the waiters of a group rely on its leases. They
// start more control planes at once unless there is a crowd, and unless a lease that ends
// would serve them.
func (p *pool) patience(g *group) time.Duration {
	if p.count() < p.crowd || g.unfit || g.leased+g.resets+g.slowResets == 0 {
		return 0
	}
	return min(max(crowdPatience, 4*p.took), maxPatience) - time.Since(g.moved)
}

// count returns the number of control planes of all groups, without the ready ones: they
// are no reason to wait.
func (p *pool) count() (n int) {
	for _, g := range p.groups {
		n += g.count()
	}
	return n
}
