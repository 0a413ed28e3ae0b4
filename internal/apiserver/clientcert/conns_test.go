// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package clientcert

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestConnectionInTwoRegistries: each registry closes a connection that both have. They
// once shared one mark, and the first registry that had the connection hid it from the
// other.
func TestConnectionInTwoRegistries(t *testing.T) {
	for name, closeConns := range map[string]func(nodes, certificates *Conns){
		"node":        func(nodes, _ *Conns) { nodes.Close("n1", func(string) bool { return false }) },
		"certificate": func(_, certificates *Conns) { certificates.Close("key", func(string) bool { return false }) },
	} {
		t.Run(name, func(t *testing.T) {
			var nodes, certificates Conns
			ours, theirs := net.Pipe()
			defer theirs.Close()
			request := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			request = request.WithContext(certificates.Context(nodes.Context(request.Context(), ours), ours))
			nodes.Add(request, "n1", "key")
			certificates.Add(request, "key", "key")
			closeConns(&nodes, &certificates)
			go func() { _, _ = ours.Write([]byte("open")) }()
			if _, err := io.ReadFull(theirs, make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("got error %v, want a closed connection", err)
			}
			nodes.State(ours, http.StateClosed)
			certificates.State(ours, http.StateClosed)
			if n := len(nodes.open) + len(certificates.open) + len(certificates.nodes); n > 0 {
				t.Errorf("got %d entries for a closed connection, want none", n)
			}
		})
	}
}
