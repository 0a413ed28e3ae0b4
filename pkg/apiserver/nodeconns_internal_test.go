package apiserver

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestConnectionsOfRevokedCertificates are closed where they are a node's too: two
// registries had one mark, and the first one that knew a connection hid it from the other.
func TestConnectionsOfRevokedCertificates(t *testing.T) {
	for name, closeConns := range map[string]func(*generic){
		"node":        func(g *generic) { g.revoked.conns.close("n1", (*revokedNode)(&revokedNode{}).accepts) },
		"certificate": func(g *generic) { g.revokedCertificates.conns.close("key", func(string) bool { return false }) },
	} {
		t.Run(name, func(t *testing.T) {
			g := &generic{revoked: &revokedNodes{}, revokedCertificates: &revokedCertificates{}}
			ours, theirs := net.Pipe()
			defer theirs.Close()
			request := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			request = request.WithContext(g.connContext(request.Context(), ours))
			g.revoked.conns.add(request, "n1", "key")
			g.revokedCertificates.conns.add(request, "key", "key")
			closeConns(g)
			go func() { _, _ = ours.Write([]byte("open")) }()
			if _, err := io.ReadFull(theirs, make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("the connection is open: %v", err)
			}
			g.connState(ours, http.StateClosed)
			if len(g.revoked.conns.open)+len(g.revokedCertificates.conns.open)+len(g.revokedCertificates.conns.nodes) > 0 {
				t.Error("a closed connection is remembered")
			}
		})
	}
}
