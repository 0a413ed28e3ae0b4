// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package connlimit

import (
	"container/list"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// ErrExhausted is returned if the server would have to open a connection for a client
// when there are too many.
var ErrExhausted = errors.New("too many connections for the limit of open files: raise it (ulimit -n, LimitNOFILE=), or try again later")

// Class ranks clients by their rights. It determines the order in which connections are
// closed.
type Class int

// Classes. Connections of the first are closed first.
const (
	// Guest is a client with few rights, or an identity that anyone can have.
	Guest Class = iota + 1
	// User is any other client.
	User
	// Admin is an administrator: its connections are closed only while they are idle.
	Admin
	// Peer is a member of the etcd cluster: its connections are never closed.
	Peer
)

// client is the authenticated client of a connection.
type client struct {
	class Class
	name  string
}

// epoch is the zero of Conn.used.
var epoch = time.Now()

// Conn is a counted connection. Begin, End and Authenticated may be called on nil, for
// requests without a connection.
type Conn struct {
	net.Conn
	budget   *Budget
	listener *Listener // nil if the server has opened the connection
	opened   time.Time

	client  atomic.Pointer[client] // nil until the client is authenticated
	busy    atomic.Int32           // requests on it
	used    atomic.Int64           // when the last request ended, since epoch
	hasSent atomic.Bool            // the client has sent something

	// Fields of the budget, under its lock.
	place *list.Element // in its listener's unauthenticated
	gone  bool
}

// Read reads from the connection.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.hasSent.Load() {
		c.hasSent.Store(true)
	}
	return n, err
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.budget.mu.Lock()
	c.budget.remove(c)
	c.budget.mu.Unlock()
	return c.Conn.Close()
}

// Begin records that a request begins on the connection.
func (c *Conn) Begin() {
	if c != nil {
		c.busy.Add(1)
	}
}

// End records that a request on the connection has ended.
func (c *Conn) End() {
	if c != nil {
		c.used.Store(int64(time.Since(epoch)))
		c.busy.Add(-1)
	}
}

// Authenticated sets the client of the connection. The connection counts for its first
// client, unless a later one has more rights.
func (c *Conn) Authenticated(class Class, name string) {
	if c == nil {
		return
	}
	if c.listener != nil && c.listener.options.NoAuthentication {
		class = Guest
	}
	if is := c.client.Load(); is != nil && is.class >= class {
		return
	}
	c.budget.mu.Lock()
	defer c.budget.mu.Unlock()
	if is := c.client.Load(); is == nil || is.class < class {
		c.used.Store(int64(time.Since(epoch)))
		c.budget.authenticated(c, &client{class, name})
	}
}

// FromConn returns the budget's connection below conn, or nil.
func FromConn(conn net.Conn) *Conn {
	for conn != nil {
		switch c := conn.(type) {
		case *Conn:
			return c
		case interface{ NetConn() net.Conn }: // *tls.Conn
			conn = c.NetConn()
		default:
			return nil
		}
	}
	return nil
}

// Client returns the authenticated client, or zero values.
func (c *Conn) Client() (class Class, name string) {
	if is := c.client.Load(); is != nil {
		return is.class, is.name
	}
	return 0, ""
}
