// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"net"
	"sync"
)

// Conns tracks open connections, of a listener or made by the server itself. An
// http.Server forgets connections that a handler has taken over (exec, port-forward,
// proxied WebSockets), and such a handler only returns when its connection is closed.
type Conns struct {
	net.Listener

	mu     sync.Mutex
	open   map[*conn]struct{}
	closed bool
}

// NewConns returns a Conns of listener, or without a listener if that is nil.
func NewConns(listener net.Listener) *Conns {
	return &Conns{Listener: listener, open: map[*conn]struct{}{}}
}

// Accept implements net.Listener.
func (c *Conns) Accept() (net.Conn, error) {
	accepted, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return c.Track(accepted)
}

// Track returns connected as a tracked connection. After CloseAll it closes connected and
// returns net.ErrClosed.
func (c *Conns) Track(connected net.Conn) (net.Conn, error) {
	tracked := &conn{Conn: connected, of: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = connected.Close()
		return nil, net.ErrClosed
	}
	c.open[tracked] = struct{}{}
	return tracked, nil
}

// CloseAll closes all open connections, and connections that come later.
func (c *Conns) CloseAll() {
	c.mu.Lock()
	c.closed = true
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for conn := range open {
		_ = conn.Conn.Close()
	}
}

type conn struct {
	net.Conn
	of *Conns
}

// NetConn returns the underlying connection.
func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
