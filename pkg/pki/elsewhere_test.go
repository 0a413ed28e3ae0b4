package pki

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clocktesting "k8s.io/utils/clock/testing"
)

// A serving certificate that was made elsewhere is served as it is: with names that
// are not those of the Config, and for longer than ours would be kept.
func TestServingMadeElsewhere(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(birth)
	elsewhere := mustOpen(t, Config{Hosts: []string{"elsewhere.example"}, Clock: clock}).Serving()
	dir := t.TempDir()
	own := mustOpen(t, Config{Dir: dir, Clock: clock}).Serving()
	p := mustOpen(t, Config{Dir: dir, Clock: clock, Serving: elsewhere, Hosts: []string{"here.example"}})
	if !same(p.Serving(), elsewhere) {
		t.Error("another certificate is served")
	}
	clock.SetTime(birth.Add(400 * day))
	renewed, err := p.Renew()
	if err != nil || !renewed {
		t.Fatalf("the others are not renewed: %t, %v", renewed, err)
	}
	if !same(p.Serving(), elsewhere) {
		t.Error("it was renewed")
	}
	cert, err := os.ReadFile(filepath.Join(dir, "apiserver.crt"))
	if err != nil || !bytes.Equal(cert, own.Cert) {
		t.Errorf("the directory's own certificate was changed: %v", err)
	}
}

func TestClientCAsMadeElsewhere(t *testing.T) {
	others := mustOpen(t, Config{}).CABundle()
	p := mustOpen(t, Config{ClientCAs: others})
	certs, err := parseCerts(p.ClientCAs())
	if err != nil || len(certs) != 2 {
		t.Fatalf("%d certificates, want 2: %v", len(certs), err)
	}
	if bytes.Contains(p.CABundle(), others) {
		t.Error("clients are told to trust it as a server's")
	}
	if p = mustOpen(t, Config{}); !bytes.Equal(p.ClientCAs(), p.CABundle()) {
		t.Error("without any, they differ from the bundle")
	}
}

func TestElsewhereIsValidated(t *testing.T) {
	a, b := mustOpen(t, Config{}).Serving(), mustOpen(t, Config{}).Serving()
	for name, c := range map[string]Config{
		"Serving: Invalid value: tls: private key does not match":  {Serving: KeyPair{Cert: a.Cert, Key: b.Key}},
		"Serving: Invalid value: tls: failed to find any PEM data": {Serving: KeyPair{Key: a.Key}},
		"ClientCAs: Invalid value: it holds no PEM block":          {ClientCAs: []byte("no certificate")},
	} {
		if _, err := Open(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
}
