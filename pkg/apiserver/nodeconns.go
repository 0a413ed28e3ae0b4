package apiserver

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"k8s.io/streaming/pkg/httpstream"
)

// nodeConns knows the connections on which nodes, or the holders of a key, have
// authenticated with a client certificate, and closes those of one that is not accepted
// any more: a watch that is open is not authenticated again. A connection may be in
// several nodeConns.
type nodeConns struct {
	mu    sync.Mutex
	nodes map[string]map[net.Conn]*nodeConn
	open  map[net.Conn]*nodeConn
}

// nodeConn is a connection. It is one node's, or nobody's yet: it shows one
// certificate as long as it lives.
type nodeConn struct {
	net.Conn
	known     atomic.Bool // in nodeConns
	node, key string
	hash      atomic.Pointer[string] // of the client certificate's key, see revokedCertificates.keyOf
}

// nodeConnKey is the key of the nodeConn of a request.
type nodeConnKey struct{ in *nodeConns }

// context is http.Server's ConnContext.
func (n *nodeConns) context(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, nodeConnKey{n}, &nodeConn{Conn: c})
}

// of returns the nodeConn of a request, or nil if it came over no connection.
func (n *nodeConns) of(r *http.Request) *nodeConn {
	conn, _ := r.Context().Value(nodeConnKey{n}).(*nodeConn)
	return conn
}

// state is http.Server's ConnState. What a handler has taken over is the
// handler's until it returns.
func (n *nodeConns) state(c net.Conn, state http.ConnState) {
	if state == http.StateClosed {
		n.remove(c)
	}
}

// add knows that the request's connection is a node's.
func (n *nodeConns) add(r *http.Request, node, key string) {
	conn := n.of(r)
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

func (n *nodeConns) addConn(conn *nodeConn, node, key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if conn.known.Swap(true) {
		return
	}
	conn.node, conn.key = node, key
	if n.open == nil {
		n.open, n.nodes = map[net.Conn]*nodeConn{}, map[string]map[net.Conn]*nodeConn{}
	}
	if n.nodes[node] == nil {
		n.nodes[node] = map[net.Conn]*nodeConn{}
	}
	n.nodes[node][conn.Conn], n.open[conn.Conn] = conn, conn
}

func (n *nodeConns) remove(c net.Conn) {
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

// close closes the connections of a node with keys that are not accepted, and ends
// the requests on them.
func (n *nodeConns) close(node string, accepts func(key string) bool) {
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
