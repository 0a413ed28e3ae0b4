// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	clocktesting "k8s.io/utils/clock/testing"
)

func TestValidateReportsAllProblems(t *testing.T) {
	err := Config{
		Hosts:         []string{"ok.example", "*.example", "a b", "host:6443", "[::1]", "10.0.0.300", "", "trailing.dot.", "fe80::1%eth0"},
		ServiceIPs:    []net.IP{net.IPv4(10, 0, 0, 1), {1, 2, 3}, net.IPv4zero, nil},
		ClusterDomain: "Cluster_Local",
	}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"Hosts[1]", "Hosts[2]", "Hosts[3]", "Hosts[4]", "Hosts[5]", "Hosts[6]", "Hosts[7]", "Hosts[8]",
		"ServiceIPs[1]", "ServiceIPs[2]", "ServiceIPs[3]", "ClusterDomain",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	for _, good := range []string{"Hosts[0]", "ServiceIPs[0]"} {
		if strings.Contains(err.Error(), good) {
			t.Errorf("the error names %s: %v", good, err)
		}
	}
	if _, err := Open(Config{Hosts: []string{"*"}}); err == nil {
		t.Error("Open accepts an invalid Config")
	}
}

func TestValidateAccepts(t *testing.T) {
	for _, cfg := range []Config{
		{},
		{Dir: "relative/directory"},
		{Hosts: []string{"Master.Example", "node-1", "192.0.2.1", "2001:db8::1", "0.0.0.0"}},
		{ServiceIPs: []net.IP{{10, 0, 0, 1}, net.ParseIP("fd00::1")}, ClusterDomain: "edge.internal"},
	} {
		if err := cfg.Validate(); err != nil {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestServingNames(t *testing.T) {
	cfg := Config{
		Hosts:         []string{"Master.Example", "localhost", "192.0.2.1", "2001:db8::1"},
		ServiceIPs:    []net.IP{{10, 0, 0, 1}, net.IPv4(10, 0, 0, 1)},
		ClusterDomain: "edge.internal",
	}.withDefaults()
	names, ips := cfg.servingNames()
	for _, want := range []string{
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.edge.internal", "master.example",
	} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is missing in %q", want, names)
		}
	}
	var got []string
	for _, ip := range ips {
		got = append(got, ip.String())
	}
	if want := []string{"10.0.0.1", "127.0.0.1", "192.0.2.1", "2001:db8::1", "::1"}; !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("addresses %q, want %q", got, want)
	}
	if len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("%q has a duplicate", names)
	}
}

// The caller may modify its slices: Renew runs long after Open.
func TestConfigIsCopied(t *testing.T) {
	ip := net.IP{10, 0, 0, 1}
	cfg := Config{Hosts: []string{"a.example"}, ServiceIPs: []net.IP{ip}}
	copied := cfg.withDefaults()
	cfg.Hosts[0], ip[3] = "b.example", 2
	if copied.Hosts[0] != "a.example" || copied.ServiceIPs[0].String() != "10.0.0.1" {
		t.Errorf("the copy shares memory with the caller: %+v", copied)
	}
}

// An existing serving certificate is served unchanged: with names that are not in the
// Config, and without renewal.
func TestExistingServingCertificate(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(birth)
	elsewhere := mustOpen(t, Config{Hosts: []string{"elsewhere.example"}, Clock: clock}).Serving()
	dir := t.TempDir()
	own := mustOpen(t, Config{Dir: dir, Clock: clock}).Serving()
	p := mustOpen(t, Config{Dir: dir, Clock: clock, Serving: elsewhere, Hosts: []string{"here.example"}})
	if !same(p.Serving(), elsewhere) {
		t.Error("Serving is not the configured certificate")
	}
	clock.SetTime(birth.Add(400 * day))
	renewed, err := p.Renew()
	if err != nil || !renewed {
		t.Fatalf("the others are not renewed: %t, %v", renewed, err)
	}
	if !same(p.Serving(), elsewhere) {
		t.Error("Serving was renewed")
	}
	cert, err := os.ReadFile(filepath.Join(dir, "apiserver.crt"))
	if err != nil || !bytes.Equal(cert, own.Cert) {
		t.Errorf("the directory's own certificate was changed: %v", err)
	}
}

func TestClientCAs(t *testing.T) {
	others := mustOpen(t, Config{}).CABundle()
	p := mustOpen(t, Config{ClientCAs: others})
	certs, err := parseCerts(p.ClientCAs())
	if err != nil || len(certs) != 2 {
		t.Fatalf("got %d certificates, want 2: %v", len(certs), err)
	}
	if bytes.Contains(p.CABundle(), others) {
		t.Error("CABundle has a client CA")
	}
	if p = mustOpen(t, Config{}); !bytes.Equal(p.ClientCAs(), p.CABundle()) {
		t.Error("without client CAs, ClientCAs differs from CABundle")
	}
}

func TestExistingCertificatesAreValidated(t *testing.T) {
	a, b := mustOpen(t, Config{}).Serving(), mustOpen(t, Config{}).Serving()
	for name, c := range map[string]Config{
		"Serving: Invalid value: tls: private key does not match":  {Serving: KeyPair{Cert: a.Cert, Key: b.Key}},
		"Serving: Invalid value: tls: failed to find any PEM data": {Serving: KeyPair{Key: a.Key}},
		"ClientCAs: Invalid value: no PEM block":                   {ClientCAs: []byte("no certificate")},
	} {
		if _, err := Open(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
}
