// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/util/keyutil"
	clocktesting "k8s.io/utils/clock/testing"
)

// older returns a bundle of an older release, which had no CA for kubelets.
func older(t *testing.T, bundle []byte) []byte {
	t.Helper()
	var kept []byte
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasPrefix(block.Headers[bundleHeader], kubeletServingCAFile) {
			kept = append(kept, pem.EncodeToMemory(block)...)
		}
	}
	return kept
}

func verifies(t *testing.T, roots []byte, pair KeyPair, host string) error {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	_, err := mustTLS(t, pair).Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host, CurrentTime: mustTLS(t, pair).Leaf.NotBefore.Add(clockSkew)})
	return err
}

// Clients that trust the cluster's CA do not accept a kubelet serving certificate.
func TestKubeletServingCAIsSeparate(t *testing.T) {
	p := mustOpen(t, Config{})
	pair, err := p.IssueNodeServing("n1", []string{"192.0.2.1", "n1.example.com"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if subject := mustTLS(t, pair).Leaf.Subject.String(); subject != "CN=system:node:n1,O=system:nodes" {
		t.Errorf("subject %s", subject)
	}
	for _, host := range []string{"192.0.2.1", "n1.example.com"} {
		if err := verifies(t, p.KubeletServingCABundle(), pair, host); err != nil {
			t.Error(err)
		}
	}
	for name, roots := range map[string][]byte{"clients": p.CABundle(), "the API server for clients": p.ClientCAs(), "front proxies": p.FrontProxyCABundle(), "etcd": p.etcdBundle} {
		if verifies(t, roots, pair, "192.0.2.1") == nil {
			t.Errorf("%s trust it", name)
		}
	}
	if verifies(t, p.KubeletServingCABundle(), p.Serving(), "localhost") == nil {
		t.Error("the certificate of the API server is accepted for a kubelet")
	}
	for name, hosts := range map[string][]string{"n1": nil, "N1": {"n1"}, "": {"n1"}, "n2": {"*.example.com"}} {
		if _, err := p.IssueNodeServing(name, hosts, 0); err == nil {
			t.Errorf("node %q with %q: no error", name, hosts)
		}
	}
}

// A directory of an older release gets the CA at the next start, and nothing else
// changes. All servers with the same cluster CA derive the same one, in whatever order
// they are upgraded.
func TestKubeletServingCAOfOlderRelease(t *testing.T) {
	dir := t.TempDir()
	first := mustOpen(t, Config{Dir: dir})
	files := readAll(t, dir)
	remove(t, dir, "kubelet-serving-ca.crt", "kubelet-serving-ca.key")
	if second := mustOpen(t, Config{Dir: dir}); !sameCAs(t, first, second) {
		t.Error("another CA")
	}
	if !maps.Equal(readAll(t, dir), files) {
		t.Error("other files")
	}
	// A crash between the two writes.
	remove(t, dir, "kubelet-serving-ca.crt")
	mustOpen(t, Config{Dir: dir})
	if !maps.Equal(readAll(t, dir), files) {
		t.Error("other files after a crash")
	}

	bundle := export(t, first)
	old := older(t, bundle)
	if bytes.Equal(bundle, old) {
		t.Fatal("nothing was left out")
	}
	into := filepath.Join(t.TempDir(), "pki")
	for name, cfg := range map[string]Config{
		"old bundle": {Import: old}, "old bundle, in a directory": {Dir: into, Import: old}, "old bundle again": {Dir: into, Import: old},
		"new bundle": {Import: bundle}, "new bundle, in a directory with the old one": {Dir: into, Import: bundle},
	} {
		if p := mustOpen(t, cfg); !sameCAs(t, p, first) {
			t.Errorf("%s: another CA", name)
		}
	}
	if mustOpen(t, Config{}).KubeletServingCA().Cert.Equal(first.KubeletServingCA().Cert) {
		t.Error("another cluster has the same CA")
	}

	// One of the two files is damage, not an older release.
	for _, name := range []string{"kubelet-serving-ca.crt", "kubelet-serving-ca.key"} {
		var half []byte
		for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
			if block.Headers[bundleHeader] != name {
				half = append(half, pem.EncodeToMemory(block)...)
			}
		}
		if _, err := Open(Config{Import: half}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: error %v", name, err)
		}
	}
}

// An imported CA may have an RSA key, and may be valid for longer than a generated one.
func TestKubeletServingCAOfImportedCA(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := *mustOpen(t, Config{}).CA().Cert
	template.PublicKey = key.Public()
	template.SerialNumber, template.PublicKeyAlgorithm, template.SignatureAlgorithm = big.NewInt(1), x509.RSA, x509.SHA256WithRSA
	template.NotBefore, template.NotAfter = birth.AddDate(-15, 0, 0), birth.AddDate(15, 0, 0)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	var made []*PKI
	for range 2 {
		dir := t.TempDir()
		write(t, dir, "ca.crt", encodeCert(der))
		write(t, dir, "ca.key", keyPEM)
		made = append(made, mustOpen(t, Config{Dir: dir, Clock: clocktesting.NewFakePassiveClock(birth)}))
	}
	if !made[0].KubeletServingCA().Cert.Equal(made[1].KubeletServingCA().Cert) {
		t.Error("two servers derived different CAs")
	}
	pair, err := made[0].IssueNodeServing("n1", []string{"n1"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifies(t, made[1].KubeletServingCABundle(), pair, "n1"); err != nil {
		t.Error(err)
	}
}
