// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

func TestIssueServing(t *testing.T) {
	p := mustOpen(t, Config{})
	kp, err := p.IssueServing([]string{"API.system.svc", "127.0.0.1", "::1"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	server := &tls.Config{Certificates: []tls.Certificate{mustTLS(t, kp)}, MinVersion: tls.VersionTLS12}
	for name, ok := range map[string]bool{"api.system.svc": true, "127.0.0.1": true, "::1": true, "kubernetes": false} {
		_, _, err := handshake(t, server, &tls.Config{RootCAs: pool(t, p.CABundle()), ServerName: name, MinVersion: tls.VersionTLS12})
		if (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	leaf := mustTLS(t, kp).Leaf
	if len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Errorf("usages %v", leaf.ExtKeyUsage)
	}
	if left := time.Until(leaf.NotAfter); left > time.Hour {
		t.Errorf("the certificate is valid for %v", left)
	}
}

func TestIssueServingRejects(t *testing.T) {
	p := mustOpen(t, Config{})
	for _, test := range []struct {
		hosts []string
		ttl   time.Duration
		want  string
	}{
		{nil, 0, "at least one host is required"},
		{[]string{"ok", "https://a"}, 0, `"https://a"`},
		{[]string{"127.0.0.1:443"}, 0, "without scheme, port"},
		{[]string{"*.system.svc"}, 0, "wildcard"},
		{[]string{"a"}, -1, "must not be negative"},
	} {
		if _, err := p.IssueServing(test.hosts, test.ttl); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got error %v, want %q", test.hosts, err, test.want)
		}
	}
	// A name that is too long for the subject is still served.
	long := strings.Repeat("a", 60) + ".system.svc"
	kp, err := p.IssueServing([]string{long}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if leaf := mustTLS(t, kp).Leaf; leaf.VerifyHostname(long) != nil || leaf.Subject.CommonName != "" {
		t.Errorf("subject %v, names %v", leaf.Subject, leaf.DNSNames)
	}
}

func TestIssueRejects(t *testing.T) {
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
		t.Error("TLS accepts a key that does not match the certificate")
	}
}

func BenchmarkIssueClient(b *testing.B) {
	p := mustOpen(b, Config{})
	for b.Loop() {
		mustIssue(b, p, "jane", "admins")
	}
}
