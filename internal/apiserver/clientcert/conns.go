// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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

// Conns registers the connections on which nodes, or the holders of a key, have
// authenticated with a client certificate. It closes the connections of a client whose
// certificate is revoked: an open watch is not authenticated again. A connection may be
// in several Conns.
type Conns struct {
	mu    sync.Mutex
	nodes map[string]map[net.Conn]*Conn
	open  map[net.Conn]*Conn
}

// Conn is a connection. It belongs to one node, or to none yet: a connection has the same
// client certificate during its lifetime.
type Conn struct {
	net.Conn
	known     atomic.Bool // in Conns
	node, key string
	// KeyHash is the hash of the public key of the client certificate, or nil before it
	// is computed.
	KeyHash atomic.Pointer[string]
}

// connKey is the key of the Conn of a request.
type connKey struct{ in *Conns }

// Context implements http.Server.ConnContext.
func (n *Conns) Context(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{n}, &Conn{Conn: c})
}

// Of returns the Conn of a request, or nil for a request in this process.
func (n *Conns) Of(r *http.Request) *Conn {
	conn, _ := r.Context().Value(connKey{n}).(*Conn)
	return conn
}

// State implements http.Server.ConnState. It is not called for the end of a connection
// that a handler has taken over.
func (n *Conns) State(c net.Conn, state http.ConnState) {
	if state == http.StateClosed {
		n.remove(c)
	}
}

// Add registers the connection of a request as a node's.
func (n *Conns) Add(r *http.Request, node, key string) {
	conn := n.Of(r)
	if conn == nil {
		return
	}
	if !conn.known.Load() {
		n.addConn(conn, node, key)
	}
	if httpstream.IsUpgradeRequest(r) {
		// State is not called when a connection ends that a handler has taken over: it
		// ends with the request.
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
	conn.known.Store(false) // the next request on it registers it again
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
			c = secure.NetConn() // without TLS's close_notify, which can block
		}
		_ = c.Close()
	}
}
