// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestServingCertificate: clients that trust the control plane trust the server, with the
// requested names only.
func TestServingCertificate(t *testing.T) {
	t.Parallel()
	cp := start(t, controlplane.Config{})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cp.CABundle())
	for _, test := range []struct{ hosts, good, bad []string }{
		{nil, []string{"localhost", "127.0.0.1", "::1"}, []string{"api.system.svc"}},
		{[]string{"api.system.svc", "192.0.2.1"}, []string{"api.system.svc", "192.0.2.1"}, []string{"localhost", "127.0.0.1"}},
	} {
		pair, err := cp.ServingCertificate(test.hosts...)
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := pair.TLS()
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
		server.StartTLS()
		t.Cleanup(server.Close)
		dial := func(name string) error {
			conn, err := tls.Dial("tcp", server.Listener.Addr().(*net.TCPAddr).String(), &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12})
			if err != nil {
				return err
			}
			return conn.Close()
		}
		for _, name := range test.good {
			if err := dial(name); err != nil {
				t.Errorf("%v as %s: %v", test.hosts, name, err)
			}
		}
		for _, name := range test.bad {
			if err := dial(name); err == nil {
				t.Errorf("%v as %s: got no error, want one", test.hosts, name)
			}
		}
	}
	if _, err := cp.ServingCertificate("https://localhost"); err == nil || !strings.Contains(err.Error(), `"https://localhost"`) {
		t.Errorf("got error %v, want one about https://localhost", err)
	}
}
