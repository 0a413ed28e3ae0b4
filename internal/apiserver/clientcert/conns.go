package clientcert

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"k8s.io/streaming/pkg/httpstream"
)

// Conns knows the connections on which nodes, or the holders of a key, have
// authenticated with a client certificate, and closes those of one that is not accepted
// any more: a watch that is open is not authenticated again. A connection may be in
// several Conns.
type Conns struct {
	mu    sync.Mutex
	nodes map[string]map[net.Conn]*Conn
	open  map[net.Conn]*Conn
}

// Conn is a connection. It is one node's, or nobody's yet: it shows one
// certificate as long as it lives.
type Conn struct {
	net.Conn
	known     atomic.Bool // in Conns
	node, key string
	// KeyHash is the hash of the public key of the client certificate, or nil before it
	// is computed. A connection shows one certificate as long as it lives.
	KeyHash atomic.Pointer[string]
}

// connKey is the key of the Conn of a request.
type connKey struct{ in *Conns }

// Context is http.Server's ConnContext.
func (n *Conns) Context(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{n}, &Conn{Conn: c})
}

// Of returns the Conn of a request, or nil if it came over no connection.
func (n *Conns) Of(r *http.Request) *Conn {
	conn, _ := r.Context().Value(connKey{n}).(*Conn)
	return conn
}

// State is http.Server's ConnState. What a handler has taken over is the
// handler's until it returns.
func (n *Conns) State(c net.Conn, state http.ConnState) {
	if state == http.StateClosed {
		n.remove(c)
	}
}

// Add knows that the request's connection is a node's.
func (n *Conns) Add(r *http.Request, node, key string) {
	conn := n.Of(r)
	if conn == nil {
		return
	}
	if !conn.known.Load() {
		n.addConn(conn, node, key)
	}
	if httpstream.IsUpgradeRequest(r) {
		// Nobody says when a connection ends that a handler has taken over, but for
		// the end of the request.
		context.AfterFunc(r.Context(), func() { n.remove(conn.Conn) })
	}
}

func (n *Conns) addConn(conn *Conn, node, key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if conn.known.Swap(true) {
		return
	}
	conn.node, conn.key = node, key
	if n.open == nil {
		n.open, n.nodes = map[net.Conn]*Conn{}, map[string]map[net.Conn]*Conn{}
	}
	if n.nodes[node] == nil {
		n.nodes[node] = map[net.Conn]*Conn{}
	}
	n.nodes[node][conn.Conn], n.open[conn.Conn] = conn, conn
}

func (n *Conns) remove(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	conn := n.open[c]
	if conn == nil {
		return
	}
	delete(n.open, c)
	delete(n.nodes[conn.node], c)
	if len(n.nodes[conn.node]) == 0 {
		delete(n.nodes, conn.node)
	}
	conn.known.Store(false) // the next request on it makes it known again
}

// Close closes the connections of a node with keys that are not accepted, and ends
// the requests on them.
func (n *Conns) Close(node string, accepts func(key string) bool) {
	n.mu.Lock()
	var closing []net.Conn
	for c, conn := range n.nodes[node] {
		if !accepts(conn.key) {
			closing = append(closing, c)
		}
	}
	n.mu.Unlock()
	for _, c := range closing {
		if secure, ok := c.(*tls.Conn); ok {
			c = secure.NetConn() // without a farewell, for which the peer might have to read
		}
		_ = c.Close()
	}
}
