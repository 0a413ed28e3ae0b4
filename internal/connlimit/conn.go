package connlimit

import (
	"container/list"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// ErrExhausted is returned for connections that the server would have to open for a
// client when there are too many.
var ErrExhausted = errors.New("too many connections for the limit of open files: raise it (ulimit -n, LimitNOFILE=), or try again later")

// Class ranks clients by their rights, for the order in which connections are closed.
type Class int

// Classes, those first whose connections are closed first.
const (
	// Guest is a client that may do little, or that anybody could be.
	Guest Class = iota + 1
	// User is any other client.
	User
	// Admin is an administrator: its connections are closed only while they are idle.
	Admin
	// Peer is a member of the etcd cluster: its connections are never closed.
	Peer
)

// client is who was authenticated on a connection.
type client struct {
	class Class
	name  string
}

// epoch is the zero of Conn.used.
var epoch = time.Now()

// Conn is a connection that counts. Its methods may be called on nil, where a request
// has come over none.
type Conn struct {
	net.Conn
	budget   *Budget
	listener *Listener // nil for one that the server has opened
	opened   time.Time

	client  atomic.Pointer[client] // nil until one is authenticated
	busy    atomic.Int32           // requests on it
	used    atomic.Int64           // when the last request ended, since epoch
	hasSent atomic.Bool            // the client has sent something

	// Of the budget, under its lock.
	place *list.Element // among its listener's strangers
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

// Begin says that a request begins on the connection.
func (c *Conn) Begin() {
	if c != nil {
		c.busy.Add(1)
	}
}

// End says that a request on the connection has ended.
func (c *Conn) End() {
	if c != nil {
		c.used.Store(int64(time.Since(epoch)))
		c.busy.Add(-1)
	}
}

// Authenticated says who is at the other end. The first client stays the one that the
// connection is counted for, unless a later one may do more.
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

// FromConn returns the connection of a budget below conn, or nil.
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

// Client returns who was authenticated, or nobody.
func (c *Conn) Client() (class Class, name string) {
	if is := c.client.Load(); is != nil {
		return is.class, is.name
	}
	return 0, ""
}
