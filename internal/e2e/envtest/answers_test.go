// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/pki"
)

// answer returns the response to a GET request and its body. Without a token and
// certificates the client has no credentials.
func (c *cluster) answer(t *testing.T, path, token string, certificates ...tls.Certificate) (*http.Response, string) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.trust)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certificates, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// certificate returns the credentials of a user.
func (c *cluster) certificate(t *testing.T, user string, groups ...string) tls.Certificate {
	t.Helper()
	pair, err := c.clients.IssueClient(user, groups, 0)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// kube-apiserver 1.37.2 gives the same answers with the same flags.
func TestAnswersWithRBAC(t *testing.T) {
	t.Parallel()
	tokens := filepath.Join(t.TempDir(), "tokens.csv")
	if err := os.WriteFile(tokens, []byte("a-token,jane,1,system:masters\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := startCluster(t, "--feature-gates=ComponentStatusz=true,ComponentFlagz=true", "--token-auth-file="+tokens,
		"--strict-transport-security-directives=max-age=7,includeSubDomains", "--external-hostname=api.example.com")
	admin := c.certificate(t, "admin", "system:masters")
	for _, test := range []struct {
		path, token  string
		certificates []tls.Certificate
		status       int
		body         string
	}{
		{path: "/healthz", status: http.StatusOK, body: "ok"},
		{path: "/version", status: http.StatusOK},
		{path: "/api", status: http.StatusForbidden, body: `User \"system:anonymous\" cannot get path`},
		{path: "/api/v1/pods", status: http.StatusForbidden, body: "system:anonymous"},
		{path: "/nosuch", status: http.StatusForbidden},
		{path: "/api/v1/pods", token: "another", status: http.StatusUnauthorized},
		{path: "/api/v1/pods", token: "a-token", status: http.StatusOK},
		{path: "/statusz", certificates: []tls.Certificate{c.certificate(t, "joe")}, status: http.StatusForbidden},
		{path: "/statusz", certificates: []tls.Certificate{admin}, status: http.StatusOK, body: "apiserver statusz"},
		{path: "/flagz", certificates: []tls.Certificate{admin}, status: http.StatusOK, body: "apiserver flagz"},
		{path: "/flagz", certificates: []tls.Certificate{admin}, status: http.StatusOK, body: "audit-webhook-batch-buffer-size"},
		{path: "/debug/pprof/", certificates: []tls.Certificate{admin}, status: http.StatusOK},
		{path: "/.well-known/openid-configuration", certificates: []tls.Certificate{admin}, status: http.StatusOK, body: "https://api.example.com:"},
		{path: "/logs/", certificates: []tls.Certificate{admin}, status: http.StatusNotFound},
	} {
		response, body := c.answer(t, test.path, test.token, test.certificates...)
		if response.StatusCode != test.status || !strings.Contains(body, test.body) {
			t.Errorf("%s: got %s, want %d and %q: %s", test.path, response.Status, test.status, test.body, body)
		}
		if got := response.Header.Get("Strict-Transport-Security"); got != "max-age=7; includeSubDomains" {
			t.Errorf("%s: Strict-Transport-Security is %q", test.path, got)
		}
	}
}

// Without --authorization-mode, --cert-dir with a certificate, and the flags of
// service-account keys, as the program is typed first.
func TestAnswersWithoutAuthorization(t *testing.T) {
	t.Parallel()
	c := &cluster{}
	var err error
	if c.clients, err = pki.Open(pki.Config{}); err != nil {
		t.Fatal(err)
	}
	client, peer := freeAddress(t), freeAddress(t)
	c.etcd = start(t, "etcd", "--advertise-client-urls=http://"+client, "--data-dir="+t.TempDir(),
		"--listen-client-urls=http://"+client, "--listen-peer-urls=http://"+peer, "--unsafe-no-fsync=true")
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(ca, c.clients.CABundle(), 0o600); err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(freeAddress(t))
	c.url = "https://" + net.JoinHostPort(host, port)
	c.apiserver = start(t, "kube-apiserver", "--etcd-servers=http://"+client, "--bind-address="+host, "--secure-port="+port,
		"--cert-dir="+filepath.Join(dir, "certificates"), "--client-ca-file="+ca)
	jane := c.certificate(t, "jane")
	testwait.UntilWithin(t, waitTimeout, "jane gets the health of the server, with the certificate in --cert-dir", func(ctx context.Context) error {
		if c.trust, err = os.ReadFile(filepath.Join(dir, "certificates", "apiserver.crt")); err != nil {
			return err
		}
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		if err != nil {
			return err
		}
		_ = connection.Close()
		if response, _ := c.answer(t, "/readyz", "", jane); response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
	for path, want := range map[string]int{"/healthz": http.StatusUnauthorized, "/version": http.StatusUnauthorized, "/api": http.StatusUnauthorized} {
		if response, body := c.answer(t, path, ""); response.StatusCode != want {
			t.Errorf("%s without credentials: got %s: %s", path, response.Status, body)
		}
	}
	if response, body := c.answer(t, "/api/v1/secrets", "", jane); response.StatusCode != http.StatusOK {
		t.Errorf("jane lists secrets: got %s: %s", response.Status, body)
	}
}
