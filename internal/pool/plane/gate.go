// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"net"
	"sync"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// gate is the listener of a control plane. It drops connections without a lease.
type gate struct {
	net.Listener

	mu    sync.Mutex
	conns *lifecycle.Conns // of the lease; nil without
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if conns := g.current(); conns != nil {
			if tracked, err := conns.Track(conn); err == nil {
				return tracked, nil
			}
			continue
		}
		_ = conn.Close() // its client belongs to an earlier lease
	}
}

func (g *gate) current() *lifecycle.Conns {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.conns
}

// open accepts connections until close.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns = lifecycle.NewConns(nil)
}

// shut disconnects all clients, and refuses others.
func (g *gate) shut() {
	g.mu.Lock()
	conns := g.conns
	g.conns = nil
	g.mu.Unlock()
	if conns != nil {
		conns.CloseAll()
	}
}
