// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package presence

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"go.uber.org/zap"
)

func newRegistry(t *testing.T) *Registry {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return NewRegistry(Config{
		Listener:         listener,
		PrivateEndpoints: []netip.AddrPort{netip.MustParseAddrPort("10.1.2.3:2379")},
		AdvertiseAddress: net.IPv4(10, 1, 2, 4),
		Certificate:      func() []byte { return nil },
		EtcdEndpoints:    func() []string { return []string{"https://10.1.2.5:2379"} },
		Logger:           zap.NewNop(),
	})
}

func TestEndpointsOfTheControlPlaneAreRefused(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	public := r.config.Listener.Addr().(*net.TCPAddr).AddrPort()
	other := Presence{Private: []netip.AddrPort{netip.MustParseAddrPort("10.1.2.6:8080")}}
	r.others.Store(&[]Presence{other})
	for _, test := range []struct {
		at             netip.AddrPort
		kubelet, proxy bool
	}{
		{at: public, proxy: true},
		{at: netip.AddrPortFrom(netip.MustParseAddr("10.1.2.4"), public.Port()), proxy: true},
		{at: netip.MustParseAddrPort("10.1.2.3:2379")},
		{at: netip.MustParseAddrPort("[::ffff:10.1.2.3]:2379")},
		{at: netip.MustParseAddrPort("10.1.2.4:2379")}, // as seen through an address translation
		{at: netip.MustParseAddrPort("10.1.2.5:2379")}, // etcd's
		{at: netip.MustParseAddrPort("10.1.2.6:8080")}, // another server's
		{at: netip.MustParseAddrPort("10.1.2.7:10250"), kubelet: true, proxy: true},
	} {
		if got := r.CheckKubelet(test.at) == nil; got != test.kubelet {
			t.Errorf("kubelet at %s: got %v, want %v", test.at, got, test.kubelet)
		}
		if got := r.CheckProxy(test.at) == nil; got != test.proxy {
			t.Errorf("proxy to %s: got %v, want %v", test.at, got, test.proxy)
		}
	}
}

func TestReserved(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	if err := r.Reserve([]string{"API.example.com.", "192.0.2.1"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Reserve([]string{""}); err == nil {
		t.Error("Reserve of an empty host: got no error")
	}
	r.others.Store(&[]Presence{{Names: []string{"other.example.com"}}})
	names, addrs := r.Reserved([]string{"webhook.example.com"})
	if want := []string{"api.example.com", "other.example.com", "webhook.example.com"}; !slices.Equal(names, want) {
		t.Errorf("names: got %q, want %q", names, want)
	}
	if want := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.1.2.4")}; !slices.Equal(addrs, want) {
		t.Errorf("addresses: got %v, want %v", addrs, want)
	}
}
