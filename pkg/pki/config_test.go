package pki

import (
	"net"
	"slices"
	"strings"
	"testing"
)

func TestValidateNamesEveryProblem(t *testing.T) {
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
		t.Error("Open takes what Validate refuses")
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
		t.Errorf("a name stands twice in %q", names)
	}
}

// The caller's slices are his own: Renew runs long after Open.
func TestConfigIsCopied(t *testing.T) {
	ip := net.IP{10, 0, 0, 1}
	cfg := Config{Hosts: []string{"a.example"}, ServiceIPs: []net.IP{ip}}
	copied := cfg.withDefaults()
	cfg.Hosts[0], ip[3] = "b.example", 2
	if copied.Hosts[0] != "a.example" || copied.ServiceIPs[0].String() != "10.0.0.1" {
		t.Errorf("shares memory with the caller: %+v", copied)
	}
}
