// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"net"
	"net/netip"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	netutils "k8s.io/utils/net"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/pkg/pki"
)

func (s *Server) openPKI() error {
	advertise, err := s.advertiseAddress()
	if err != nil {
		return err
	}
	s.advertise = advertise
	_, cidr, err := net.ParseCIDR(s.config.ServiceCIDR)
	if err != nil {
		return fieldpath.New("", "Config.ServiceCIDR", "%w", err)
	}
	serviceIP, err := netutils.GetIndexedIP(cidr, 1)
	if err != nil {
		return fieldpath.New("", "Config.ServiceCIDR", "%w", err)
	}
	hosts := append([]string{advertise.String()}, s.config.Hosts...)
	if external := s.config.Network.ExternalHost; external != "" {
		if host, _, err := net.SplitHostPort(external); err == nil {
			external = host
		}
		hosts = append(hosts, external)
	}
	if bound := s.boundIP(); !bound.IsUnspecified() {
		hosts = append(hosts, bound.String())
	}
	s.serviceIP = serviceIP
	c := pki.Config{Hosts: hosts, ServiceIPs: []net.IP{serviceIP}, Import: s.config.PKI, EtcdMember: s.config.Etcd.memberHosts(), Clock: s.clock()}
	// etcd reads its certificates from files.
	if s.temporary == nil || len(c.EtcdMember) > 0 {
		c.Dir = s.pkiDir()
	}
	if s.pki, err = pki.Open(c); err != nil {
		return pkiError(err)
	}
	return nil
}

func (s *Server) boundIP() netip.Addr {
	return netip.MustParseAddrPort(s.listener.Addr().String()).Addr().Unmap()
}

// advertiseAddress returns the address at which workers reach this control plane.
func (s *Server) advertiseAddress() (netip.Addr, error) {
	if s.config.AdvertiseAddress != "" {
		return netip.ParseAddr(s.config.AdvertiseAddress)
	}
	bound := s.boundIP()
	if !bound.IsUnspecified() {
		return bound, nil
	}
	ip, err := utilnet.ChooseHostInterface()
	if err != nil {
		return netip.Addr{}, fieldpath.New("", "Config.AdvertiseAddress", "%s is every address, and this machine has no default route to choose one by; set the address that workers use: %w", fieldpath.Name("BindAddress"), err)
	}
	addr, _ := netip.AddrFromSlice(ip)
	if addr = addr.Unmap(); bound.Is4() && !addr.Is4() {
		return netip.Addr{}, fieldpath.New("", "Config.AdvertiseAddress", "%s is every IPv4 address, and the default route of this machine is of IPv6 (%s): set the address that workers use, or listen on [::]", fieldpath.Name("BindAddress"), addr)
	}
	return addr, nil
}
