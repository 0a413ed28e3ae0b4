// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package nodeaddress checks addresses in Nodes, Pods and Services before the API server
// connects to them. It rejects addresses with another meaning on the machine of the
// control plane, such as loopback, and the metadata services of clouds, which return the
// credentials of the machine that connects.
package nodeaddress

import (
	"fmt"
	"net/netip"
	"slices"
)

// metadata are the metadata services of clouds. Most clouds have the first, which is
// link-local.
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
	// translated are the IPv6 ranges with an IPv4 address in the last 32 bits, to which
	// a gateway or an old system connects: RFC 6052 (NAT64) and RFC 4291, 2.5.5.1.
	translated = []netip.Prefix{netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("::/96")}
)

// Canonical returns ip without a zone. For an IPv4 address in one of the IPv6 forms it
// returns the IPv4 address.
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

// CheckKubelet returns an error if the API server must not connect to a kubelet at ip, an
// address that its node has registered. Loopback addresses are valid only if local is
// true: the control plane listens on loopback only, so all nodes are on this machine.
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

// CheckProxy returns an error if the API server must not connect to ip for a proxy
// request to a pod, a Service, or a port of a node that is not its kubelet's.
func CheckProxy(ip netip.Addr) error {
	ip = Canonical(ip)
	if ip.IsLinkLocalUnicast() {
		return fmt.Errorf("%s is a link-local address", ip)
	}
	return CheckKubelet(ip, false)
}
