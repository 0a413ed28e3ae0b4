// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package failover

import (
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// TestHandshakeKeepsRefusal: a member refuses certificates after the handshake. If
// Connect timed out in between, it reported only "no answer".
func TestHandshakeKeepsRefusal(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := server.Listener.Addr().String()
	d := NewDialer(transport.TLSInfo{TrustedCAFile: ca}, true)
	refused := errors.New("remote error: tls: certificate required")
	d.note(addr, refused)

	conn, err := d.dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	encrypted, _, err := d.credentials().ClientHandshake(t.Context(), "127.0.0.1", conn)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.problem(addr); !errors.Is(got, refused) {
		t.Errorf("after the handshake: %v", got)
	}
	// The server sends its settings first.
	if _, err := encrypted.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if got := d.problem(addr); got != nil {
		t.Errorf("after an answer: %v", got)
	}
}
