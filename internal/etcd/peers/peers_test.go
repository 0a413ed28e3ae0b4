// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestRefusedByCertificate: a member distinguishes others that refuse its certificate, or
// present one of another CA, from unreachable ones.
func TestRefusedByCertificate(t *testing.T) {
	serve := func(start func(*httptest.Server), config *tls.Config) *httptest.Server {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.TLS = config
		start(server)
		t.Cleanup(server.Close)
		return server
	}
	open := serve((*httptest.Server).StartTLS, nil)
	roots := x509.NewCertPool()
	roots.AddCert(open.Certificate())
	own := open.TLS.Certificates
	closed := serve((*httptest.Server).StartTLS, nil)
	closed.Close()
	wantsOther := func(version uint16) *httptest.Server {
		return serve((*httptest.Server).StartTLS, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(), MaxVersion: version}) //nolint:gosec // for a test
	}
	for name, test := range map[string]struct {
		address string
		roots   *x509.CertPool
		want    bool
	}{
		"it shows a certificate of another CA": {open.Listener.Addr().String(), x509.NewCertPool(), true},
		"it does not take ours, TLS 1.3":       {wantsOther(tls.VersionTLS13).Listener.Addr().String(), roots, true},
		"it does not take ours, TLS 1.2":       {wantsOther(tls.VersionTLS12).Listener.Addr().String(), roots, true},
		"it is no member":                      {open.Listener.Addr().String(), roots, false},
		"it has no TLS":                        {serve((*httptest.Server).Start, nil).Listener.Addr().String(), roots, false},
		"nobody listens":                       {closed.Listener.Addr().String(), roots, false},
	} {
		t.Run(name, func(t *testing.T) {
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: test.roots, Certificates: own}} //nolint:gosec // for a test
			defer transport.CloseIdleConnections()
			p := &Client{http: &http.Client{Transport: transport, Timeout: Timeout}}
			a := p.AskOne(t.Context(), test.address)
			if a.Err == nil || a.refused() != test.want {
				t.Errorf("refused: %v, want %v (%v)", a.refused(), test.want, a.Err)
			}
		})
	}
}
