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
	"strings"
	"sync"
	"testing"
	"time"
)

func mustOpen(t testing.TB, cfg Config) *PKI {
	t.Helper()
	p, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustTLS(t testing.TB, kp KeyPair) tls.Certificate {
	t.Helper()
	cert, err := kp.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func mustIssue(t testing.TB, p *PKI, user string, groups ...string) KeyPair {
	t.Helper()
	kp, err := p.IssueClient(user, groups, 0)
	if err != nil {
		t.Fatal(err)
	}
	return kp
}

func pool(t testing.TB, pems ...[]byte) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	for _, pem := range pems {
		if !pool.AppendCertsFromPEM(pem) {
			t.Fatal("no certificate in the PEM")
		}
	}
	return pool
}

// handshake connects client to server. In TLS 1.3 the client is done before the
// server has looked at its certificate, so both ends report.
func handshake(t testing.TB, server, client *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	// Not net.Pipe: it has no buffer, and two ends that send an alert at once
	// would wait for each other.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err := listener.Accept()
		if err != nil {
			serverErr = err
			return
		}
		defer raw.Close()
		conn := tls.Server(raw, server)
		serverErr = conn.Handshake()
		state = conn.ConnectionState()
	}()
	raw, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, client)
	if clientErr = conn.Handshake(); clientErr == nil {
		_, _ = conn.Read(make([]byte, 1)) // session tickets, or the server's refusal
	}
	_ = raw.Close()
	<-done
	return state, serverErr, clientErr
}

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
					t.Fatalf("client's error %v", clientErr)
				}
				return
			case clientErr != nil:
				t.Fatalf("client: %v", clientErr)
			case tc.refused:
				if !errors.As(serverErr, &verification) {
					t.Fatalf("server's error %v", serverErr)
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

// A client certificate must not serve: it would let any user pose as the server.
func TestClientCertificateDoesNotServe(t *testing.T) {
	p := mustOpen(t, Config{})
	kp, err := p.IssueNode("localhost", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = handshake(t,
		&tls.Config{Certificates: []tls.Certificate{mustTLS(t, kp)}},
		&tls.Config{RootCAs: pool(t, p.CABundle()), ServerName: "localhost"})
	var verification *tls.CertificateVerificationError
	if !errors.As(err, &verification) {
		t.Fatalf("client's error %v", err)
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
			t.Errorf("%s is no CA", name)
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
		t.Error("one CA for two purposes")
	}
}

func TestIssueRefuses(t *testing.T) {
	p := mustOpen(t, Config{})
	for name, issue := range map[string]func() (KeyPair, error){
		"no user":      func() (KeyPair, error) { return p.IssueClient("", nil, 0) },
		"empty group":  func() (KeyPair, error) { return p.IssueClient("jane", []string{"a", ""}, 0) },
		"negative ttl": func() (KeyPair, error) { return p.IssueClient("jane", nil, -time.Second) },
		"node name":    func() (KeyPair, error) { return p.IssueNode("Worker_1", 0) },
		"no node name": func() (KeyPair, error) { return p.IssueNode("", 0) },
	} {
		if kp, err := issue(); err == nil || kp.Cert != nil || !strings.HasPrefix(err.Error(), "pki: ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := (KeyPair{Cert: p.Serving().Cert, Key: p.KubeletClient().Key}).TLS(); err == nil {
		t.Error("TLS takes a key that is not the certificate's")
	}
}

func TestConcurrentUse(t *testing.T) {
	p := mustOpen(t, Config{Dir: t.TempDir()})
	roots := pool(t, p.CABundle())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				kp, err := p.IssueClient("jane", []string{"admins"}, 0)
				if err != nil {
					t.Error(err)
					return
				}
				cert, err := kp.TLS()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
					t.Error(err)
				}
				if _, err := p.Renew(); err != nil {
					t.Error(err)
				}
				if len(p.Serving().Cert) == 0 {
					t.Error("no serving certificate")
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkOpen(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			mustOpen(b, Config{})
		}
	})
	b.Run("new directory", func(b *testing.B) {
		for b.Loop() {
			mustOpen(b, Config{Dir: b.TempDir()})
		}
	})
	b.Run("known directory", func(b *testing.B) {
		dir := b.TempDir()
		mustOpen(b, Config{Dir: dir})
		for b.Loop() {
			mustOpen(b, Config{Dir: dir})
		}
	})
}

func BenchmarkIssueClient(b *testing.B) {
	p := mustOpen(b, Config{})
	for b.Loop() {
		mustIssue(b, p, "jane", "admins")
	}
}
