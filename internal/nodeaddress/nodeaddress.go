// Package nodeaddress knows the addresses that an API server must not be led to
// by what is written in a Node, a Pod or a Service: those that mean something
// else on the machine of the control plane than they do on the machine of
// whoever wrote them, and the metadata services of clouds, which hand out the
// credentials of the machine that asks.
package nodeaddress

import (
	"fmt"
	"net/netip"
	"slices"
)

// metadata are the metadata services of clouds. Nearly every cloud has the
// first; it is link-local, the others are not.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"),
	netip.MustParseAddr("169.254.170.2"),   // AWS ECS
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd20:ce::254"),    // Google
	netip.MustParseAddr("168.63.129.16"),   // Azure
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("192.0.0.192"),     // Oracle
}

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	// translated are the ranges of IPv6 whose last 32 bits are an IPv4 address that a
	// gateway, or an old system, connects to: RFC 6052 (NAT64) and RFC 4291, 2.5.5.1.
	translated = []netip.Prefix{netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("::/96")}
)

// Canonical returns the address that ip means, without a zone: of an IPv4 address in
// one of the forms of IPv6 that address.
func Canonical(ip netip.Addr) netip.Addr {
	ip = ip.Unmap().WithZone("")
	if ip == netip.IPv6Loopback() || ip == netip.IPv6Unspecified() {
		return ip
	}
	for _, prefix := range translated {
		if prefix.Contains(ip) {
			bytes := ip.As16()
			return netip.AddrFrom4([4]byte(bytes[12:]))
		}
	}
	return ip
}

// CheckKubelet says why the API server does not connect to a kubelet at ip,
// which its node has registered. Loopback is another machine than this one only
// in name: it is an address of a node where the control plane listens on
// loopback itself (local), so that all its nodes are on this machine.
func CheckKubelet(ip netip.Addr, local bool) error {
	ip = Canonical(ip)
	switch {
	case slices.Contains(metadata, ip):
		return fmt.Errorf("%s is the metadata service of a cloud", ip)
	case ip.IsLoopback() && !local:
		return fmt.Errorf("%s is a loopback address: here it is the control plane, not the node", ip)
	case ip.IsUnspecified(), ip.IsMulticast(), !ip.IsValid(), thisNetwork.Contains(ip):
		return fmt.Errorf("%s is not the address of a machine", ip)
	}
	return nil
}

// CheckProxy says why the API server does not connect to ip for whoever proxies
// to a pod, a Service, or another port of a node than its kubelet's.
func CheckProxy(ip netip.Addr) error {
	ip = Canonical(ip)
	if ip.IsLinkLocalUnicast() {
		return fmt.Errorf("%s is a link-local address", ip)
	}
	return CheckKubelet(ip, false)
}
