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
				t.Errorf("%s, %s: %v", test.address, what, check.err)
			}
		}
	}
	if nodeaddress.CheckProxy(netip.Addr{}) == nil {
		t.Error("no address is accepted")
	}
}
