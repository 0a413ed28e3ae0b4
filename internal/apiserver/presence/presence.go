// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package presence knows the names, addresses and endpoints of the API servers of a
// control plane. Servers that share an etcd publish theirs there. The other parts of the
// server use them to protect it: nodes get no serving certificates for its names and
// addresses, and the server connects to no kubelet, pod or Service at its own endpoints.
package presence

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/util/cert"

	"github.com/kubembed/kubembed/internal/nodeaddress"
)

// Presence is where one API server can be reached.
type Presence struct {
	// Names are DNS names in lower case.
	Names []string `json:"names,omitempty"`
	// Addresses are IP addresses.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Public are the endpoints of the HTTPS listener, which authenticates clients.
	Public []netip.AddrPort `json:"public,omitempty"`
	// Private are the endpoints of listeners that trust every client, or are only for
	// parts of the control plane: insecure HTTP and etcd.
	Private []netip.AddrPort `json:"private,omitempty"`
}

func (p *Presence) addAddress(addr netip.Addr) {
	if addr = nodeaddress.Canonical(addr); !slices.Contains(p.Addresses, addr) {
		p.Addresses = append(p.Addresses, addr)
	}
}

func (p *Presence) addName(name string) {
	if name = strings.ToLower(strings.TrimSuffix(name, ".")); !slices.Contains(p.Names, name) {
		p.Names = append(p.Names, name)
	}
}

// Config describes this server.
type Config struct {
	Listener         net.Listener // HTTPS
	InsecureListener net.Listener // may be nil
	PrivateEndpoints []netip.AddrPort
	AdvertiseAddress net.IP
	// Certificate returns the serving certificate in PEM.
	Certificate func() []byte
	// Local says that only this machine can connect to the server.
	Local bool
	// EtcdEndpoints returns the URLs to which the server's etcd client connects. It may
	// be nil.
	EtcdEndpoints func() []string
	// Records are nil unless servers share the etcd.
	Records *Records
	Logger  *zap.Logger
}

// Registry has the presence of this server and of the other servers, as they have
// published it. It is safe for concurrent use.
type Registry struct {
	config Config

	mu       sync.Mutex
	reserved Presence // by Reserve

	others atomic.Pointer[[]Presence]
}

// NewRegistry returns a registry that knows this server only.
func NewRegistry(config Config) *Registry { return &Registry{config: config} }

// Reserve adds hosts to this server's names and addresses.
func (r *Registry) Reserve(hosts []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, host := range hosts {
		if host == "" {
			return fmt.Errorf("a host must not be empty")
		}
		if addr, err := netip.ParseAddr(host); err == nil {
			r.reserved.addAddress(addr)
		} else {
			r.reserved.addName(host)
		}
	}
	return nil
}

// Reserved returns the names and addresses of all known servers, and names.
func (r *Registry) Reserved(names []string) ([]string, []netip.Addr) {
	var all Presence
	for _, server := range r.known() {
		for _, name := range server.Names {
			all.addName(name)
		}
		for _, addr := range server.Addresses {
			all.addAddress(addr)
		}
	}
	for _, name := range names {
		all.addName(name)
	}
	return all.Names, all.Addresses
}

// own returns this server's presence. It is computed for each call: interfaces and
// certificates change.
func (r *Registry) own() Presence {
	r.mu.Lock()
	own := Presence{Names: slices.Clone(r.reserved.Names), Addresses: slices.Clone(r.reserved.Addresses)}
	r.mu.Unlock()
	// If all nodes are on this machine, they may have its name.
	machine := ""
	if r.config.Local {
		machine, _ = os.Hostname()
	}
	if leaf := servingLeaf(r.config.Certificate()); leaf != nil {
		for _, name := range leaf.DNSNames {
			if !strings.EqualFold(name, machine) {
				own.addName(name)
			}
		}
		for _, ip := range leaf.IPAddresses {
			if addr, ok := netip.AddrFromSlice(ip); ok {
				own.addAddress(addr)
			}
		}
	}
	if addr, ok := netip.AddrFromSlice(r.config.AdvertiseAddress); ok && !addr.IsUnspecified() {
		own.addAddress(addr)
	}
	own.Public = listenerEndpoints(own.Addresses, r.config.Listener)
	own.Private = listenerEndpoints(own.Addresses, r.config.InsecureListener)
	for _, endpoint := range r.config.PrivateEndpoints {
		own.Private = append(own.Private, expand(own.Addresses, endpoint)...)
	}
	return own
}

// listenerEndpoints returns the endpoints of a listener, which may be nil.
func listenerEndpoints(own []netip.Addr, listener net.Listener) []netip.AddrPort {
	if listener == nil {
		return nil
	}
	tcp, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return nil
	}
	return expand(own, tcp.AddrPort())
}

// expand returns all endpoints at which clients reach an endpoint: with the unspecified
// address at each interface, and its port at each of the server's own addresses, which
// may belong to an address translation in front of it.
func expand(own []netip.Addr, endpoint netip.AddrPort) (all []netip.AddrPort) {
	addrs := slices.Clone(own)
	if ip := endpoint.Addr().Unmap().WithZone(""); ip.IsUnspecified() {
		addrs = append(addrs, interfaceAddresses()...)
	} else {
		addrs = append(addrs, ip)
	}
	for _, addr := range addrs {
		if at := netip.AddrPortFrom(addr, endpoint.Port()); !slices.Contains(all, at) {
			all = append(all, at)
		}
	}
	return all
}

func interfaceAddresses() (addrs []netip.Addr) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, address := range all {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			addrs = append(addrs, prefix.Addr().Unmap().WithZone(""))
		}
	}
	return addrs
}

// servingLeaf returns the first certificate, or nil.
func servingLeaf(pem []byte) *x509.Certificate {
	certs, err := cert.ParseCertsPEM(pem)
	if err != nil {
		return nil
	}
	return certs[0]
}

// known returns the presence of this server, and the last known ones of the others.
func (r *Registry) known() []Presence {
	all := []Presence{r.own()}
	if others := r.others.Load(); others != nil {
		all = append(all, *others...)
	}
	return all
}

// CheckKubelet returns an error if the server must not connect to a kubelet at an
// endpoint. A nil Registry allows all endpoints.
func (r *Registry) CheckKubelet(at netip.AddrPort) error {
	if r == nil {
		return nil
	}
	return r.check(at, true)
}

// CheckProxy returns an error if the server must not proxy requests to an endpoint. HTTPS
// endpoints of servers are allowed: they authenticate the request, which carries no
// credentials of this server. A nil Registry allows all endpoints.
func (r *Registry) CheckProxy(at netip.AddrPort) error {
	if r == nil {
		return nil
	}
	return r.check(at, false)
}

func (r *Registry) check(at netip.AddrPort, public bool) error {
	at = netip.AddrPortFrom(nodeaddress.Canonical(at.Addr()), at.Port())
	for _, server := range r.known() {
		if slices.Contains(server.Private, at) || public && slices.Contains(server.Public, at) {
			return fmt.Errorf("%s is an endpoint of the control plane", at)
		}
	}
	if r.isEtcd(at) {
		return fmt.Errorf("%s is an endpoint of the control plane's etcd", at)
	}
	return nil
}

// lookupTimeout bounds the resolution of etcd's host names.
const lookupTimeout = 2 * time.Second

// isEtcd reports whether the server's etcd client connects to an endpoint.
func (r *Registry) isEtcd(at netip.AddrPort) bool {
	if r.config.EtcdEndpoints == nil {
		return false
	}
	for _, endpoint := range r.config.EtcdEndpoints() {
		u, err := url.Parse(endpoint)
		if err != nil || u.Port() != strconv.Itoa(int(at.Port())) {
			continue
		}
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
			if addr.Unmap() == at.Addr() {
				return true
			}
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
		addrs, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
		cancel()
		if slices.ContainsFunc(addrs, func(addr netip.Addr) bool { return addr.Unmap() == at.Addr() }) {
			return true
		}
	}
	return false
}
