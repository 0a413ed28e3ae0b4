// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"testing"
	"time"
)

func TestHandshake(t *testing.T) {
	p := mustOpen(t, Config{
		Hosts:      []string{"master.example", "192.0.2.1"},
		ServiceIPs: []net.IP{{10, 0, 0, 1}},
	})
	node, err := p.IssueNode("worker1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	other := mustOpen(t, Config{})
	user := mustIssue(t, p, "jane", "admins", "readers")
	clusterCA, frontProxyCA := p.CABundle(), p.FrontProxyCA().PEM()

	for _, tc := range []struct {
		name       string
		clientCAs  []byte
		client     KeyPair
		serverName string
		user       string
		groups     []string
		refused    bool // by the server
		mistrusts  bool // the client
	}{
		{name: "user", clientCAs: clusterCA, client: user, serverName: "localhost", user: "jane", groups: []string{"admins", "readers"}},
		{name: "node by the Service's address", clientCAs: clusterCA, client: node, serverName: "10.0.0.1", user: "system:node:worker1", groups: []string{"system:nodes"}},
		{name: "in-cluster name", clientCAs: clusterCA, client: user, serverName: "kubernetes.default.svc.cluster.local", user: "jane", groups: []string{"admins", "readers"}},
		{name: "extra host", clientCAs: clusterCA, client: user, serverName: "master.example", user: "jane", groups: []string{"admins", "readers"}},
		{name: "extra address", clientCAs: clusterCA, client: user, serverName: "192.0.2.1", user: "jane", groups: []string{"admins", "readers"}},
		{name: "IPv6 loopback", clientCAs: clusterCA, client: user, serverName: "::1", user: "jane", groups: []string{"admins", "readers"}},
		{name: "kubelet client", clientCAs: clusterCA, client: p.KubeletClient(), serverName: "localhost", user: "kube-apiserver-kubelet-client"},
		{name: "front proxy", clientCAs: frontProxyCA, client: p.FrontProxyClient(), serverName: "localhost", user: "front-proxy-client"},

		{name: "foreign name", clientCAs: clusterCA, client: user, serverName: "elsewhere.example", mistrusts: true},
		{name: "front proxy at the cluster CA", clientCAs: clusterCA, client: p.FrontProxyClient(), serverName: "localhost", refused: true},
		{name: "user at the front-proxy CA", clientCAs: frontProxyCA, client: user, serverName: "localhost", refused: true},
		{name: "user of another control plane", clientCAs: clusterCA, client: mustIssue(t, other, "jane"), serverName: "localhost", refused: true},
		{name: "serving certificate as a client", clientCAs: clusterCA, client: p.Serving(), serverName: "localhost", refused: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cert := mustTLS(t, tc.client)
			state, serverErr, clientErr := handshake(t,
				&tls.Config{
					Certificates: []tls.Certificate{mustTLS(t, p.Serving())},
					ClientAuth:   tls.RequireAndVerifyClientCert,
					ClientCAs:    pool(t, tc.clientCAs),
				},
				&tls.Config{
					// Unlike Certificates, this sends the certificate even to a
					// server that names another CA.
					GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
					RootCAs:              pool(t, p.CABundle()),
					ServerName:           tc.serverName,
				})
			var verification *tls.CertificateVerificationError
			switch {
			case tc.mistrusts:
				if !errors.As(clientErr, &verification) {
					t.Fatalf("got client error %v, want a verification error", clientErr)
				}
				return
			case clientErr != nil:
				t.Fatalf("client: %v", clientErr)
			case tc.refused:
				if !errors.As(serverErr, &verification) {
					t.Fatalf("got server error %v, want a verification error", serverErr)
				}
				return
			case serverErr != nil:
				t.Fatalf("server: %v", serverErr)
			}
			subject := state.PeerCertificates[0].Subject
			if subject.CommonName != tc.user || !slices.Equal(subject.Organization, tc.groups) {
				t.Errorf("user %q in %q, want %q in %q", subject.CommonName, subject.Organization, tc.user, tc.groups)
			}
		})
	}
}

// A client certificate must not serve: any user could impersonate the server.
func TestClientCertificateIsNoServingCertificate(t *testing.T) {
	p := mustOpen(t, Config{})
	kp, err := p.IssueNode("localhost", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = handshake(t,
		&tls.Config{Certificates: []tls.Certificate{mustTLS(t, kp)}},
		&tls.Config{RootCAs: pool(t, p.CABundle()), ServerName: "localhost"})
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Fatalf("got client error %v, want incompatible usages", err)
	}
}

func TestCertificateFields(t *testing.T) {
	p := mustOpen(t, Config{})
	serials := map[string]bool{}
	check := func(name string, cert *x509.Certificate, usage x509.KeyUsage, ext []x509.ExtKeyUsage, lifetime time.Duration) {
		t.Helper()
		if cert.KeyUsage != usage || !slices.Equal(cert.ExtKeyUsage, ext) || !cert.BasicConstraintsValid {
			t.Errorf("%s: KeyUsage %b, ExtKeyUsage %v, BasicConstraintsValid %t", name, cert.KeyUsage, cert.ExtKeyUsage, cert.BasicConstraintsValid)
		}
		if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
			t.Errorf("%s: key %T", name, cert.PublicKey)
		}
		if len(cert.SubjectKeyId) != 20 || (!cert.IsCA && len(cert.AuthorityKeyId) != 20) {
			t.Errorf("%s: key identifiers %x, %x", name, cert.SubjectKeyId, cert.AuthorityKeyId)
		}
		if got := cert.NotAfter.Sub(cert.NotBefore); got != lifetime+clockSkew {
			t.Errorf("%s: lasts %s, want %s", name, got, lifetime+clockSkew)
		}
		serial := cert.SerialNumber.String()
		if serials[serial] || cert.SerialNumber.BitLen() > 128 {
			t.Errorf("%s: serial number %s", name, serial)
		}
		serials[serial] = true
	}
	caUsage := x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	for name, a := range map[string]*CA{"CA": p.CA(), "front-proxy CA": p.FrontProxyCA()} {
		check(name, a.Cert, caUsage, nil, 10*365*24*time.Hour)
		if !a.Cert.IsCA {
			t.Errorf("%s is not a CA", name)
		}
	}
	node, err := p.IssueNode("worker1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	year := 365 * 24 * time.Hour
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	check("serving", mustTLS(t, p.Serving()).Leaf, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, year)
	check("kubelet client", mustTLS(t, p.KubeletClient()).Leaf, x509.KeyUsageDigitalSignature, client, year)
	check("front-proxy client", mustTLS(t, p.FrontProxyClient()).Leaf, x509.KeyUsageDigitalSignature, client, year)
	check("user", mustTLS(t, mustIssue(t, p, "jane")).Leaf, x509.KeyUsageDigitalSignature, client, year)
	check("node", mustTLS(t, node).Leaf, x509.KeyUsageDigitalSignature, client, time.Hour)

	if !bytes.Equal(p.CABundle(), p.CA().PEM()) {
		t.Error("the bundle of a new PKI is not its CA")
	}
	if p.CA().Cert.Equal(p.FrontProxyCA().Cert) {
		t.Error("two CAs have the same key")
	}
}
