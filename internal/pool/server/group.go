// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/kubembed/kubembed/internal/pool/protocol"
)

// maxGroups bounds the sets of options with ready control planes. The one that was used
// least recently loses them.
const maxGroups = 4

// group are the control planes with the same options.
type group struct {
	options protocol.Options
	used    int // the clock at the last lease
	ready   []Plane
	waiters []chan started
	leased  int
	moved   time.Time // the last lease that ended, or began without a crowd
	// starts and resets count the running ones. No waiter relies on slowResets any more.
	starts, resets, slowResets int
	// failing is set while starts fail: only waiters start others.
	failing bool
	// unfit is set while resets fail: leases that end serve no waiter.
	unfit bool
}

// count returns the number of control planes that tests have or wait for.
func (g *group) count() int { return g.leased + g.starts + g.resets + g.slowResets }

// group returns the group of options. It is called with mu held, as are the functions of
// this package that do not lock it.
func (p *pool) group(options protocol.Options) *group {
	p.clock++
	key, _ := json.Marshal(options) // has no values that JSON does not have
	g := p.groups[string(key)]
	if g == nil {
		g = &group{options: options}
		p.groups[string(key)] = g
	}
	g.used = p.clock
	return g
}

// recent returns the groups, and the one that was used last first. It forgets
// groups without control planes.
func (p *pool) recent() []*group {
	maps.DeleteFunc(p.groups, func(_ string, g *group) bool {
		return p.clock-g.used > 100 && len(g.ready)+len(g.waiters)+g.count() == 0
	})
	return slices.SortedFunc(maps.Values(p.groups), func(a, b *group) int { return b.used - a.used })
}
