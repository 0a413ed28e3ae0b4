// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"runtime/debug"
	"time"
)

// quiet is the time without a new lease after which a spare control plane starts. Tests
// that run have the processors until then.
const quiet = 300 * time.Millisecond

// startSpare starts a control plane ahead of the leases if one is lacking. They start one
// after another, when no lease has begun for a while, so that tests have the processors.
func (p *pool) startSpare() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped || p.starts > 0 {
		return
	}
	kept := 0
	for _, g := range p.recent() {
		if g.failing && len(g.ready) == 0 {
			continue // options that do not start take the place of none that do
		}
		if kept++; kept > maxGroups {
			for _, ready := range g.ready {
				p.discard(ready, errors.New("its options are not in use"))
			}
			g.ready = nil
			continue
		}
		if p.lacks(g) {
			p.start(g)
			return
		}
	}
	if p.stops > p.wanted { // after a burst
		p.stops = 0
		p.work.Go(debug.FreeOSMemory)
	}
}

// lacks reports whether a group should have a spare control plane more.
func (p *pool) lacks(g *group) bool {
	spare := len(g.ready) + g.resets
	// Parallel tests already have theirs; more spares only take memory.
	return !g.failing && (spare+g.leased < p.wanted || spare == 0 && g.leased < 2*p.wanted)
}
