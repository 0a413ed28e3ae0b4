// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package memberaddr converts between the addresses of members, host and port, and etcd's
// URLs for them.
package memberaddr

import (
	"net"
	"net/url"
	"slices"

	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
)

// StandaloneName is the name of a standalone member. It must stay the same for the life
// of a data directory.
const StandaloneName = "kubembed"

// Standalone is the URL that a standalone member advertises. etcd requires host:port.
// Nobody can connect to port 0, so no client ends up at another process's etcd.
var Standalone = url.URL{Scheme: "http", Host: "127.0.0.1:0"}

// PeerURL returns etcd's URL for the address of a member.
func PeerURL(address string) url.URL { return url.URL{Scheme: "https", Host: address} }

// HostPort returns the host and port of an endpoint.
func HostPort(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	return u.Host
}

// Host returns the host of an address.
func Host(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// Find returns the member whose PeerAddr is address, or nil.
func Find(members []*membership.Member, address string) *membership.Member {
	u := PeerURL(address)
	i := slices.IndexFunc(members, func(m *membership.Member) bool { return slices.Contains(m.PeerURLs, u.String()) })
	if i < 0 {
		return nil
	}
	return members[i]
}
