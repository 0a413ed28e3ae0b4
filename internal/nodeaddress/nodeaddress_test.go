// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package nodeaddress_test

import (
	"net/netip"
	"testing"

	"github.com/kubembed/kubembed/internal/nodeaddress"
)

func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		address               string
		kubelet, local, proxy bool // is accepted
	}{
		{"192.0.2.1", true, true, true},
		{"10.0.0.7", true, true, true},
		{"2001:db8::1", true, true, true},
		{"fd00::7", true, true, true},
		{"127.0.0.1", false, true, false},
		{"127.8.9.10", false, true, false},
		{"::1", false, true, false},
		{"::ffff:127.0.0.1", false, true, false},
		{"169.254.7.7", true, true, false},
		{"fe80::7%eth0", true, true, false},
		{"169.254.169.254", false, false, false},
		{"::ffff:169.254.169.254", false, false, false},
		{"169.254.170.2", false, false, false},
		{"fd00:ec2::254", false, false, false},
		{"fd00:ec2::254%eth0", false, false, false},
		{"fd20:ce::254", false, false, false},
		{"168.63.129.16", false, false, false},
		{"100.100.100.200", false, false, false},
		{"192.0.0.192", false, false, false},
		{"64:ff9b::c000:201", true, true, true},
		{"64:ff9b::7f00:1", false, true, false},
		{"64:ff9b::a9fe:a9fe", false, false, false},
		{"::127.0.0.1", false, true, false},
		{"::169.254.169.254", false, false, false},
		{"::192.0.2.1", true, true, true},
		{"0.0.0.0", false, false, false},
		{"0.0.0.5", false, false, false},
		{"::", false, false, false},
		{"224.0.0.1", false, false, false},
		{"ff02::1", false, false, false},
	} {
		ip := netip.MustParseAddr(test.address)
		for what, check := range map[string]struct {
			err  error
			want bool
		}{
			"kubelet":       {nodeaddress.CheckKubelet(ip, false), test.kubelet},
			"local kubelet": {nodeaddress.CheckKubelet(ip, true), test.local},
			"proxy":         {nodeaddress.CheckProxy(ip), test.proxy},
		} {
			if (check.err == nil) != check.want {
				t.Errorf("%s, %s: got error %v, want accepted %t", test.address, what, check.err, check.want)
			}
		}
	}
	if nodeaddress.CheckProxy(netip.Addr{}) == nil {
		t.Error("CheckProxy accepts the zero address")
	}
}

// FuzzCanonical: an address is accepted exactly when its canonical form is, in any of the
// IPv6 forms of an IPv4 address.
func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{"192.0.2.1", "127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "::", "fe80::1%eth0", "64:ff9b::a9fe:a9fe", "::ffff:10.0.0.1", "2001:db8::1", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			ip = netip.Addr{}
		}
		canonical := nodeaddress.Canonical(ip)
		if again := nodeaddress.Canonical(canonical); again != canonical {
			t.Errorf("Canonical(%s) = %s, and of that %s", ip, canonical, again)
		}
		if canonical.Is4In6() || canonical.Zone() != "" {
			t.Errorf("Canonical(%s) = %s", ip, canonical)
		}
		for name, check := range map[string]func(netip.Addr) error{
			"kubelet":       func(ip netip.Addr) error { return nodeaddress.CheckKubelet(ip, false) },
			"local kubelet": func(ip netip.Addr) error { return nodeaddress.CheckKubelet(ip, true) },
			"proxy":         nodeaddress.CheckProxy,
		} {
			want := check(canonical)
			if got := check(ip); (got == nil) != (want == nil) {
				t.Errorf("%s: got %v for %s, want %v as for %s", name, got, ip, want, canonical)
			}
			if !canonical.Is4() {
				continue
			}
			bytes := canonical.As4()
			for _, prefix := range []string{"64:ff9b::", "::ffff:0:0"} {
				form := netip.MustParseAddr(prefix).As16()
				copy(form[12:], bytes[:])
				if got := check(netip.AddrFrom16(form)); (got == nil) != (want == nil) {
					t.Errorf("%s: got %v for %s, want %v as for %s", name, got, netip.AddrFrom16(form), want, canonical)
				}
			}
		}
	})
}
