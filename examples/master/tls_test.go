// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/pki"
)

// TestCertificateOfTheOperator: clients get the certificate of --tls-cert-file, and the
// kubeconfig files of the master work.
func TestCertificateOfTheOperator(t *testing.T) {
	ca, err := pki.Open(pki.Config{})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.IssueServing([]string{"master.example.com", "127.0.0.1"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, content := range map[string][]byte{cert: pair.Cert, key: pair.Key} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rootFile := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(rootFile, ca.CABundle(), 0o600); err != nil {
		t.Fatal(err)
	}
	m := start(t, "--tls-cert-file="+cert, "--tls-private-key-file="+key, "--root-ca-file="+rootFile)
	client, config := m.client(t, adminFile)
	if _, err := client.Discovery().ServerVersion(); err != nil {
		t.Error(err)
	}
	if !bytes.Contains(config.CAData, bytes.TrimSpace(ca.CABundle())) {
		t.Error("the kubeconfig does not have the CA of --root-ca-file")
	}
	server, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.CABundle())
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "master.example.com", MinVersion: tls.VersionTLS13}}
	conn, err := dialer.DialContext(t.Context(), "tcp", server.Host)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	const warning = "Workers will not trust this master: the certificate of --tls-cert-file is for\n127.0.0.1"
	if strings.Contains(m.stdout.String(), warning) {
		t.Errorf("with --root-ca-file: %s", m.stdout)
	}
	m = start(t, "--tls-cert-file="+cert, "--tls-private-key-file="+key)
	if !strings.Contains(m.stdout.String(), warning) {
		t.Errorf("without --root-ca-file: %s", m.stdout)
	}
}
