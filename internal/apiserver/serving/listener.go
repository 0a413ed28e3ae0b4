// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"net"
	"net/netip"

	"github.com/kubembed/kubembed/internal/hostcall"
)

// Address returns the IP address and port of a listener. It reports false for others,
// such as Unix sockets and listeners in memory.
func Address(listener net.Listener) (netip.AddrPort, bool) {
	at := hostcall.Address(listener.Addr)
	if tcp, ok := at.(*net.TCPAddr); ok {
		return tcp.AddrPort(), tcp.Port != 0
	}
	// VPNs have types of their own.
	addr, err := netip.ParseAddrPort(at.String())
	return addr, err == nil && addr.Port() != 0
}

// AtAddress returns listener with another address: that at which clients reach it.
func AtAddress(listener net.Listener, addr netip.AddrPort) net.Listener {
	return &addressed{listener, net.TCPAddrFromAddrPort(addr)}
}

type addressed struct {
	net.Listener
	addr *net.TCPAddr
}

func (a *addressed) Addr() net.Addr { return a.addr }
