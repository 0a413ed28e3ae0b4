// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/hostcall"
	"github.com/kubembed/kubembed/internal/testwait"
)

// issue returns a self-signed certificate with its key, in PEM.
func issue(t testing.TB, commonName string, until time.Duration, hosts ...string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: commonName},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(until),
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// put writes a certificate and its key to dir, and returns them as files.
func put(t testing.TB, dir, name string, cert, key []byte) CertificateFile {
	t.Helper()
	f := CertificateFile{Field: "Config." + name, CertFile: filepath.Join(dir, name+".crt"), KeyFile: filepath.Join(dir, name+".key")}
	for file, content := range map[string][]byte{f.CertFile: cert, f.KeyFile: key} {
		// As programs do that renew certificates.
		if err := os.WriteFile(file+".new", content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// own is the certificate of the control plane's CA.
func own(t testing.TB) func() (cert, key []byte) {
	t.Helper()
	cert, key := issue(t, "own", time.Hour, "localhost", "kubernetes", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "127.0.0.1")
	return func() ([]byte, []byte) { return cert, key }
}

// show serves with certificates, and returns a function that returns the common name of
// the certificate for a server name, and the protocol.
func show(t testing.TB, o CertificateOptions) (*Certificates, func(testing.TB, string) (name, proto string)) {
	t.Helper()
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	c, err := NewCertificates(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: log.New(io.Discard, "", 0)}
	c.Configure(server)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return c, func(t testing.TB, name string) (string, string) {
		t.Helper()
		conn, err := (&tls.Dialer{Config: &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}}).DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			return err.Error(), ""
		}
		defer func() { _ = conn.Close() }()
		state := conn.(*tls.Conn).ConnectionState()
		return state.PeerCertificates[0].Subject.CommonName, state.NegotiatedProtocol
	}
}

// TestCertificateByName: which certificate clients get.
func TestCertificateByName(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, hosts ...string) CertificateFile {
		cert, key := issue(t, name, time.Hour, hosts...)
		return put(t, dir, name, cert, key)
	}
	public := file("public", "api.example.com")
	withIP := file("with-ip", "api.example.com", "127.0.0.1", "kubernetes.default.svc")
	sni := file("sni", "sni.example.com", "kubernetes.default.svc")
	explicit := file("explicit")
	explicit.Names = []string{"*.apps.example.com", "127.0.0.1", "kubernetes"}
	hostCert, hostKey := issue(t, "host", time.Hour, "host.example.com")
	host, err := tls.X509KeyPair(hostCert, hostKey)
	if err != nil {
		t.Fatal(err)
	}
	get := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		switch hello.ServerName {
		case "host.example.com", "api.example.com", "kubernetes.default.svc":
			return &host, nil
		case "panic.example.com":
			panic("told to")
		case "exit.example.com":
			runtime.Goexit()
		case "error.example.com":
			return nil, errors.New("not allowed")
		}
		return nil, nil
	}
	for name, test := range map[string]struct {
		options CertificateOptions
		want    map[string]string // "" is a client at an IP address
	}{
		"own": {CertificateOptions{}, map[string]string{"": "own", "localhost": "own", "other.example.com": "own"}},
		"file": {CertificateOptions{Default: &public}, map[string]string{
			"": "own", "api.example.com": "public", "other.example.com": "public", "localhost": "own",
			"kubernetes.default.svc": "own", "kubernetes": "own", "KUBERNETES.default.svc.cluster.local": "own",
		}},
		"file for the address": {CertificateOptions{Default: &withIP}, map[string]string{
			"": "with-ip", "api.example.com": "with-ip", "kubernetes.default.svc": "own",
		}},
		"SNI": {CertificateOptions{SNI: []CertificateFile{sni}}, map[string]string{
			"": "own", "sni.example.com": "sni", "other.example.com": "own", "kubernetes.default.svc": "own",
		}},
		"SNI for names and the address": {CertificateOptions{Default: &public, SNI: []CertificateFile{sni, explicit}}, map[string]string{
			"": "explicit", "sni.example.com": "sni", "a.apps.example.com": "explicit", "api.example.com": "public", "kubernetes": "own",
		}},
		"function": {CertificateOptions{Get: get}, map[string]string{
			"": "own", "host.example.com": "host", "other.example.com": "own", "kubernetes.default.svc": "own",
		}},
		"function and file": {CertificateOptions{Get: get, Default: &public}, map[string]string{
			"": "own", "api.example.com": "host", "other.example.com": "public", "kubernetes.default.svc": "own",
		}},
		"function that fails": {CertificateOptions{Get: get}, map[string]string{
			"panic.example.com": "remote error", "exit.example.com": "remote error", "error.example.com": "remote error", "localhost": "own",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			test.options.Own = own(t)
			_, shown := show(t, test.options)
			for asked, want := range test.want {
				got, proto := shown(t, asked)
				if !strings.HasPrefix(got, want) {
					t.Errorf("%q: got %q, want %q", asked, got, want)
				}
				if proto != "h2" && want != "remote error" {
					t.Errorf("%q: protocol %q, want h2", asked, proto)
				}
			}
		})
	}
}

// TestHandshakeDoesNotWaitForTheHost: a function of the host that hangs holds no client
// and no stop for longer than its context.
func TestHandshakeDoesNotWaitForTheHost(t *testing.T) {
	release := make(chan struct{})
	c := &Certificates{options: CertificateOptions{GetField: "Config.Get", Logger: zap.NewNop(), Get: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		<-release
		return nil, nil
	}}}
	defer close(release)
	client, server := net.Pipe()
	defer func() { _, _ = client.Close(), server.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		failed <- tls.Server(server, &tls.Config{GetCertificate: c.fromHost, MinVersion: tls.VersionTLS12}).HandshakeContext(ctx)
	}()
	go func() {
		_ = tls.Client(client, &tls.Config{ServerName: "a.example.com", MinVersion: tls.VersionTLS12}).HandshakeContext(t.Context())
	}()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// TestHandshakesOfABlockedHostAreBounded verifies that clients cannot add goroutines
// without end to a function that does not return.
func TestHandshakesOfABlockedHostAreBounded(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	c := &Certificates{options: CertificateOptions{GetField: "Config.Get", Logger: zap.NewNop(), Get: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		<-release
		return nil, nil
	}}}
	client, server := net.Pipe()
	defer func() { _ = client.Close() }()
	go func() {
		_ = tls.Client(client, &tls.Config{ServerName: "a.example.com", MinVersion: tls.VersionTLS12}).HandshakeContext(t.Context())
	}()
	var hello *tls.ClientHelloInfo
	_ = tls.Server(server, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		hello = h
		return nil, errors.New("the client leaves")
	}}).HandshakeContext(t.Context())
	_ = server.Close()
	for range hostcall.Max {
		if _, err := c.fromHost(hello); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if _, err := c.fromHost(hello); err == nil || !strings.Contains(err.Error(), "Config.Get is blocked") {
		t.Errorf("got %v, want the name of the field", err)
	}
}

// TestFilesThatCannotBeUsed: errors say which file, and what to do.
func TestFilesThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // every user may enter it
		t.Fatal(err)
	}
	private := filepath.Join(dir, "private")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	cert, key := issue(t, "good", time.Hour)
	_, otherKey := issue(t, "other", time.Hour)
	expired, expiredKey := issue(t, "expired", -time.Hour)
	readable := put(t, dir, "readable", cert, key)
	if err := os.Chmod(readable.KeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	hidden := put(t, private, "readable", cert, key)
	if err := os.Chmod(hidden.KeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	writable := put(t, dir, "writable", cert, key)
	if err := os.Chmod(writable.CertFile, 0o666); err != nil {
		t.Fatal(err)
	}
	group := put(t, dir, "group", cert, key)
	if err := os.Chmod(group.KeyFile, 0o640); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		file CertificateFile
		want string
	}{
		"good":                      {put(t, dir, "good", cert, key), ""},
		"readable for group":        {group, ""},
		"no certificate":            {put(t, dir, "none", []byte("text"), key), "none.crt and "},
		"swapped":                   {put(t, dir, "swapped", key, cert), "swapped.key a certificate: they are swapped"},
		"two certificates":          {put(t, dir, "two", cert, cert), "two.key has a certificate and no key"},
		"other key":                 {put(t, dir, "other", cert, otherKey), "private key does not match public key"},
		"expired":                   {put(t, dir, "expired", expired, expiredKey), "expired at"},
		"missing":                   {CertificateFile{CertFile: filepath.Join(dir, "missing"), KeyFile: group.KeyFile}, "no such file"},
		"readable for all":          {readable, "every user of this machine can read it: it has secrets and its mode is 0644: chmod o-r"},
		"below a private directory": {hidden, ""},
		"writable for all":          {writable, "chmod go-w"},
	} {
		err := test.file.Check()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

// TestReloadUnderLoad: while clients connect, files change 200 times. No handshake fails,
// a bad file keeps the former certificate and is reported once, and goroutines end.
func TestReloadUnderLoad(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	cert, key := issue(t, "0", time.Hour, "api.example.com")
	file := put(t, dir, "serving", cert, key)
	core, logs := observer.New(zap.InfoLevel)
	t.Run("", func(t *testing.T) { // its cleanup is before the check of goroutines
		c, shown := show(t, CertificateOptions{Own: own(t), Default: &file, Logger: zap.New(core)})
		ctx, cancel := context.WithCancel(t.Context())
		var following, clients sync.WaitGroup
		following.Go(func() { c.Follow(ctx) })
		defer following.Wait()
		defer cancel()
		var stop atomic.Bool
		for range 16 {
			clients.Go(func() {
				for !stop.Load() {
					if name, proto := shown(t, "api.example.com"); proto != "h2" {
						t.Errorf("got %q", name)
						return
					}
				}
			})
		}
		for i := range 200 {
			switch {
			case i%10 == 5:
				put(t, dir, "serving", []byte("no certificate"), key)
			default:
				cert, key = issue(t, "again", time.Hour, "api.example.com")
				put(t, dir, "serving", cert, key)
			}
		}
		last, lastKey := issue(t, "last", time.Hour, "api.example.com")
		put(t, dir, "serving", last, lastKey)
		wait := func(want string) {
			t.Helper()
			testwait.True(t, want, func() bool { name, _ := shown(t, "api.example.com"); return name == want })
		}
		wait("last")
		_, before, _ := c.Reloads()
		expired, expiredKey := issue(t, "expired", -time.Hour, "api.example.com")
		put(t, dir, "serving", expired, expiredKey)
		testwait.True(t, "the failure is counted", func() bool { _, failed, _ := c.Reloads(); return failed == before+1 })
		if err := os.Chmod(file.KeyFile, 0o600); err != nil { // an event
			t.Fatal(err)
		}
		wait("last")
		put(t, dir, "serving", cert, key)
		wait("again")
		stop.Store(true)
		clients.Wait()
		succeeded, failed, files := c.Reloads()
		if succeeded < 2 || failed != before+1 || !files {
			t.Errorf("got %d successes and %d failures, want at least 2 and %d", succeeded, failed, before+1)
		}
	})
	if reports := logs.FilterMessageSnippet("cannot be used").FilterField(zap.String("field", "Config.serving")); reports.Len() == 0 {
		t.Error("the log does not say that a file cannot be used")
	}
	if logs.FilterMessageSnippet("serving certificate reloaded").Len() == 0 {
		t.Error("the log does not say that a file was reloaded")
	}
}

// TestOwnIsRenewed: a renewed certificate of the control plane's CA is shown at once.
func TestOwnIsRenewed(t *testing.T) {
	cert, key := issue(t, "first", time.Hour, "127.0.0.1")
	var own atomic.Pointer[pair]
	own.Store(&pair{cert, key})
	_, shown := show(t, CertificateOptions{Own: func() ([]byte, []byte) { p := own.Load(); return p.cert, p.key }})
	cert, key = issue(t, "second", time.Hour, "127.0.0.1")
	own.Store(&pair{cert, key})
	if name, _ := shown(t, ""); name != "second" {
		t.Errorf("got %q, want the second one", name)
	}
}
