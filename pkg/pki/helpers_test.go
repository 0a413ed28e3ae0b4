// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
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

// handshake connects client to server. In TLS 1.3 the client completes before the server
// has verified its certificate, so both ends report an error.
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

func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	tree := os.DirFS(dir)
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(tree, name)
		files[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func write(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// member reads the files of EtcdFiles.
func member(t *testing.T, p *PKI) (ca []byte, pair KeyPair) {
	t.Helper()
	var data [3][]byte
	caFile, cert, key := p.EtcdFiles()
	for i, path := range []string{caFile, cert, key} {
		if !filepath.IsAbs(path) {
			t.Errorf("%q is not absolute", path)
		}
		var err error
		if data[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	return data[0], KeyPair{Cert: data[1], Key: data[2]}
}
