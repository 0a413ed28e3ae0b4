package apiserver

import (
	"net"
	"sync"
)

// conns is a listener that knows its open connections. A http.Server lets go
// of those that a handler has taken over (exec, port-forward, proxied
// WebSockets), and nothing but their end makes such a handler return.
type conns struct {
	net.Listener

	mu     sync.Mutex
	open   map[*conn]struct{}
	closed bool
}

func newConns(listener net.Listener) *conns {
	return &conns{Listener: listener, open: map[*conn]struct{}{}}
}

func (c *conns) Accept() (net.Conn, error) {
	accepted, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tracked := &conn{Conn: accepted, of: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = accepted.Close()
		return nil, net.ErrClosed
	}
	c.open[tracked] = struct{}{}
	return tracked, nil
}

// closeAll closes the connections that are open, and all that come.
func (c *conns) closeAll() {
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
	of *conns
}

func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
