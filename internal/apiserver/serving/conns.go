package serving

import (
	"net"
	"sync"
)

// Conns knows its open connections: those of a listener, or those that the
// server makes itself. A http.Server lets go of connections that a handler has
// taken over (exec, port-forward, proxied WebSockets), and nothing but their end
// makes such a handler return.
type Conns struct {
	net.Listener

	mu     sync.Mutex
	open   map[*conn]struct{}
	closed bool
}

func NewConns(listener net.Listener) *Conns {
	return &Conns{Listener: listener, open: map[*conn]struct{}{}}
}

func (c *Conns) Accept() (net.Conn, error) {
	accepted, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return c.Track(accepted)
}

// Track returns connected, tracked; after CloseAll it is closed.
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

// CloseAll closes the connections that are open, and all that come.
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

// NetConn returns the connection below.
func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
