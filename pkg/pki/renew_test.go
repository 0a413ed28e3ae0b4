// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

const day = 24 * time.Hour

var birth = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// leaves returns the certificates that Renew may replace, by name.
func leaves(p *PKI) map[string]KeyPair {
	return map[string]KeyPair{
		"serving":            p.Serving(),
		"kubelet client":     p.KubeletClient(),
		"front-proxy client": p.FrontProxyClient(),
	}
}

func same(a, b KeyPair) bool {
	return bytes.Equal(a.Cert, b.Cert) && bytes.Equal(a.Key, b.Key)
}

func TestOpenRenews(t *testing.T) {
	for _, tc := range []struct {
		name   string
		after  time.Duration
		renews bool
	}{
		{"at once", 0, false},
		{"before the last third", 243 * day, false},
		{"in the last third", 244 * day, true},
		{"expired", 400 * day, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			clock := clocktesting.NewFakePassiveClock(birth)
			old := mustOpen(t, Config{Dir: dir, Clock: clock})
			clock.SetTime(birth.Add(tc.after))
			p := mustOpen(t, Config{Dir: dir, Clock: clock})
			for name, kp := range leaves(p) {
				if same(kp, leaves(old)[name]) == tc.renews {
					t.Errorf("%s: renewed %t, want %t", name, !tc.renews, tc.renews)
				}
			}
			if !bytes.Equal(p.CABundle(), old.CABundle()) {
				t.Error("the CA changed")
			}
			// The directory has the certificate that is served, and it is valid at that
			// time.
			again := mustOpen(t, Config{Dir: dir, Clock: clock})
			for name, kp := range leaves(again) {
				if !same(kp, leaves(p)[name]) {
					t.Errorf("%s: the directory has another one", name)
				}
			}
			_, serverErr, clientErr := handshake(t,
				&tls.Config{Certificates: []tls.Certificate{mustTLS(t, again.Serving())}},
				&tls.Config{RootCAs: pool(t, again.CABundle()), ServerName: "localhost", Time: clock.Now})
			if serverErr != nil || clientErr != nil {
				t.Errorf("handshake: server %v, client %v", serverErr, clientErr)
			}
		})
	}
}

func TestRenew(t *testing.T) {
	for name, dir := range map[string]string{"memory": "", "directory": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			clock := clocktesting.NewFakePassiveClock(birth)
			p := mustOpen(t, Config{Dir: dir, Clock: clock})
			old := leaves(p)
			if renewed, err := p.Renew(); err != nil || renewed || !same(p.Serving(), old["serving"]) {
				t.Fatalf("right after the start: got renewed %t, error %v; want false", renewed, err)
			}
			clock.SetTime(birth.Add(300 * day))
			if renewed, err := p.Renew(); err != nil || !renewed {
				t.Fatalf("in the last third: got renewed %t, error %v; want true", renewed, err)
			}
			for name, kp := range leaves(p) {
				if same(kp, old[name]) {
					t.Errorf("%s: not renewed", name)
				}
				if left := mustTLS(t, kp).Leaf.NotAfter.Sub(clock.Now()); left != leafLifetime {
					t.Errorf("%s: %s left", name, left)
				}
			}
		})
	}
}

// In the last year of a CA, it still issues certificates, and none outlives it.
func TestLastYearOfCA(t *testing.T) {
	dir := t.TempDir()
	clock := clocktesting.NewFakePassiveClock(birth)
	end := mustOpen(t, Config{Dir: dir, Clock: clock}).CA().Cert.NotAfter

	clock.SetTime(end.Add(-100 * day))
	p := mustOpen(t, Config{Dir: dir, Clock: clock})
	for name, kp := range leaves(p) {
		if got := mustTLS(t, kp).Leaf.NotAfter; !got.Equal(end) {
			t.Errorf("%s: ends at %s, the CA at %s", name, got, end)
		}
	}
	kp, err := p.IssueClient("jane", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := mustTLS(t, kp).Leaf.NotAfter; !got.Equal(end) {
		t.Errorf("user: ends at %s, the CA at %s", got, end)
	}

	// A new certificate would not end later, so Renew keeps the old one.
	clock.SetTime(end.Add(-time.Hour))
	if renewed, err := p.Renew(); err != nil || renewed {
		t.Errorf("an hour before the end: renewed %t, error %v", renewed, err)
	}

	clock.SetTime(end.Add(time.Second))
	if _, err := p.IssueClient("jane", nil, 0); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("IssueClient of an expired CA: %v", err)
	}
	if _, err := p.Renew(); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("Renew of an expired CA: %v", err)
	}
	_, err = Open(Config{Dir: dir, Clock: clock})
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "ca.crt")) || !strings.Contains(err.Error(), "delete ca.crt and ca.key") {
		t.Errorf("Open of an expired CA: %v", err)
	}
}

// An appliance without a battery-backed clock starts in 1970.
func TestClockBeforeCA(t *testing.T) {
	dir := t.TempDir()
	p := mustOpen(t, Config{Dir: dir, Clock: clocktesting.NewFakePassiveClock(birth)})
	_, err := Open(Config{Dir: dir, Clock: clocktesting.NewFakePassiveClock(time.Unix(0, 0))})
	// The error names both remedies.
	if err == nil || !strings.Contains(err.Error(), "set the clock") || !strings.Contains(err.Error(), "replace ca.crt and ca.key") {
		t.Fatalf("error %v", err)
	}
	again := mustOpen(t, Config{Dir: dir, Clock: clocktesting.NewFakePassiveClock(birth)})
	if !same(again.Serving(), p.Serving()) {
		t.Error("the failed start replaced the serving certificate")
	}
}

func TestServingNamesFollowConfig(t *testing.T) {
	dir := t.TempDir()
	first := mustOpen(t, Config{Dir: dir, Hosts: []string{"a.example", "192.0.2.1"}, ServiceIPs: []net.IP{{10, 0, 0, 1}}})
	for _, tc := range []struct {
		name string
		cfg  Config
		kept bool
	}{
		{"same", Config{Hosts: []string{"192.0.2.1", "A.example"}, ServiceIPs: []net.IP{net.IPv4(10, 0, 0, 1)}}, true},
		{"fewer", Config{}, true},
		{"another name", Config{Hosts: []string{"b.example"}}, false},
		{"another address", Config{Hosts: []string{"192.0.2.2"}}, false},
		{"another service IP", Config{ServiceIPs: []net.IP{{10, 1, 0, 1}}}, false},
		{"another domain", Config{ClusterDomain: "edge.internal"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := tc.cfg
			cfg.Dir = t.TempDir()
			if err := os.CopyFS(cfg.Dir, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			p := mustOpen(t, cfg)
			if got := same(p.Serving(), first.Serving()); got != tc.kept {
				t.Errorf("serving certificate kept %t, want %t", got, tc.kept)
			}
			if !same(p.KubeletClient(), first.KubeletClient()) || !bytes.Equal(p.CABundle(), first.CABundle()) {
				t.Error("other identities changed")
			}
			cert := mustTLS(t, p.Serving()).Leaf
			for _, host := range append(cfg.Hosts, "localhost", "127.0.0.1") {
				if err := cert.VerifyHostname(host); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
