// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package memberaddr_test

import (
	"testing"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"

	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
)

func TestAddresses(t *testing.T) {
	for _, c := range []struct{ address, url, host string }{
		{"10.0.0.1:2380", "https://10.0.0.1:2380", "10.0.0.1"},
		{"[fd00::1]:2380", "https://[fd00::1]:2380", "fd00::1"},
		{"etcd-0.example.com:2380", "https://etcd-0.example.com:2380", "etcd-0.example.com"},
	} {
		u := memberaddr.PeerURL(c.address)
		if u.String() != c.url {
			t.Errorf("PeerURL(%q) = %s, want %s", c.address, &u, c.url)
		}
		if got := memberaddr.HostPort(c.url); got != c.address {
			t.Errorf("HostPort(%q) = %q, want %q", c.url, got, c.address)
		}
		if got := memberaddr.Host(c.address); got != c.host {
			t.Errorf("Host(%q) = %q, want %q", c.address, got, c.host)
		}
	}
	// Log lines and errors show unusable addresses unchanged.
	for _, bad := range []string{"10.0.0.1", "fd00::1", ""} {
		if got := memberaddr.Host(bad); got != bad {
			t.Errorf("Host(%q) = %q", bad, got)
		}
	}
	for _, bad := range []string{"https://[fd00::1", "10.0.0.1:2380", "%zz"} {
		if got := memberaddr.HostPort(bad); got != bad {
			t.Errorf("HostPort(%q) = %q", bad, got)
		}
	}
}

func TestFind(t *testing.T) {
	member := func(id types.ID, urls ...string) *membership.Member {
		return &membership.Member{ID: id, RaftAttributes: membership.RaftAttributes{PeerURLs: urls}}
	}
	members := []*membership.Member{
		member(1),
		member(2, "http://10.0.0.2:2380"), // of another etcd, without TLS
		member(3, "https://10.0.0.3:2380", "https://10.0.1.3:2380"),
		member(4, "https://[fd00::4]:2380"),
	}
	for address, want := range map[string]types.ID{
		"10.0.0.3:2380":  3,
		"10.0.1.3:2380":  3,
		"[fd00::4]:2380": 4,
		"10.0.0.3:2379":  0,
		"10.0.0.2:2380":  0,
		"":               0,
	} {
		var got types.ID
		if m := memberaddr.Find(members, address); m != nil {
			got = m.ID
		}
		if got != want {
			t.Errorf("Find(%q) = member %d, want %d", address, got, want)
		}
	}
}
