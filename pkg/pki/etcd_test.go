// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"os"
	"runtime"
	"strings"
	"testing"

	clocktesting "k8s.io/utils/clock/testing"
)

// Two members accept each other, in both directions, and no certificate of the cluster's
// CA.
func TestEtcdMembers(t *testing.T) {
	t.Chdir(t.TempDir())
	first := mustOpen(t, Config{Dir: "first", EtcdMember: []string{"192.0.2.1", "one.example"}})
	bundle, err := first.Export()
	if err != nil {
		t.Fatal(err)
	}
	second := mustOpen(t, Config{Dir: "second", EtcdMember: []string{"192.0.2.2"}, Import: bundle})
	caFirst, one := member(t, first)
	caSecond, two := member(t, second)
	connect := func(client KeyPair, name string) error {
		_, serverErr, clientErr := handshake(t,
			&tls.Config{Certificates: []tls.Certificate{mustTLS(t, one)}, ClientCAs: pool(t, caFirst), ClientAuth: tls.RequireAndVerifyClientCert},
			&tls.Config{Certificates: []tls.Certificate{mustTLS(t, client)}, RootCAs: pool(t, caSecond), ServerName: name})
		if serverErr != nil {
			return serverErr
		}
		return clientErr
	}
	for _, name := range []string{"192.0.2.1", "one.example", "localhost", "127.0.0.1", "::1"} {
		if err := connect(two, name); err != nil {
			t.Errorf("as %s: %v", name, err)
		}
	}
	if err := connect(two, "192.0.2.2"); err == nil {
		t.Error("a member is accepted under the name of another")
	}
	for name, pair := range map[string]KeyPair{
		"an administrator": mustIssue(t, first, "admin", "system:masters"),
		"the API server":   first.KubeletClient(),
		"a front proxy":    first.FrontProxyClient(),
	} {
		if err := connect(pair, "192.0.2.1"); err == nil {
			t.Errorf("%s is accepted as a member", name)
		}
	}
	if runtime.GOOS != "windows" {
		for path, want := range map[string]os.FileMode{"first/etcd": 0o700, "first/etcd/ca.key": 0o600, "first/etcd/member.key": 0o600} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: mode %v, error %v", path, info.Mode(), err)
			}
		}
	}
}

func TestEtcdMemberIsRenewed(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(birth)
	cfg := Config{Dir: t.TempDir(), EtcdMember: []string{"192.0.2.1"}, Clock: clock}
	p := mustOpen(t, cfg)
	ca, old := member(t, p)
	clock.SetTime(birth.Add(300 * day))
	if renewed, err := p.Renew(); err != nil || !renewed {
		t.Fatalf("renewed %t, error %v", renewed, err)
	}
	again, renewed := member(t, p)
	if same(old, renewed) || string(again) != string(ca) {
		t.Error("Renew replaced another certificate than the member's")
	}
	// The address of a member changes with its machine.
	cfg.EtcdMember = []string{"192.0.2.7"}
	if _, moved := member(t, mustOpen(t, cfg)); mustTLS(t, moved).Leaf.VerifyHostname("192.0.2.7") != nil {
		t.Error("the new address is not in the certificate")
	}
}

func TestEtcdMemberIsValidated(t *testing.T) {
	for want, cfg := range map[string]Config{
		"Dir: Required value: EtcdMember is set": {EtcdMember: []string{"192.0.2.1"}},
		"EtcdMember[1]: Invalid value":           {Dir: "pki", EtcdMember: []string{"192.0.2.1", "192.0.2.1:2380"}},
	} {
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if ca, cert, key := mustOpen(t, Config{Dir: t.TempDir()}).EtcdFiles(); ca+cert+key != "" {
		t.Errorf("files %q %q %q of no member", ca, cert, key)
	}
}
