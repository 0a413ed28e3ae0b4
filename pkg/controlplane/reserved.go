// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"net/netip"
)

// reserved returns the names and addresses for which no node gets a serving certificate.
// Servers of older releases do not publish theirs. Their addresses are in the endpoints
// of the kubernetes Service.
func (s *Server) reserved(ctx context.Context) (names []string, addrs []netip.Addr, err error) {
	if names, addrs, err = s.apiserver.Reserved(ctx); err != nil {
		return nil, nil, err
	}
	if s.elections != nil {
		others, err := s.elections.Servers(ctx)
		if err != nil {
			return nil, nil, err
		}
		addrs = append(addrs, others...)
	}
	return names, addrs, nil
}

// privateEndpoints returns the endpoints of a member of an etcd cluster. If ClientAddr is
// empty, the API server gets that endpoint from its etcd client.
func (e Etcd) privateEndpoints() (endpoints []netip.AddrPort) {
	if e.Name == "" {
		return nil
	}
	for _, address := range []string{e.PeerAddr, e.ClientAddr} {
		if endpoint, err := netip.ParseAddrPort(address); err == nil && endpoint.Port() != 0 {
			endpoints = append(endpoints, endpoint)
		}
	}
	return endpoints
}
