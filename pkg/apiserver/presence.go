package apiserver

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

	"github.com/kubembed/kubembed/internal/apiserver/webhook"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/nodeaddress"
	"github.com/kubembed/kubembed/internal/storage"
)

// presence holds the names, addresses and endpoints of one API server. Nodes get no
// serving certificate for its names and addresses, and the server calls no kubelet at
// its endpoints. Servers that share an etcd publish theirs there.
type presence struct {
	// Names are DNS names in lower case.
	Names []string `json:"names,omitempty"`
	// Addresses are IP addresses.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Public are the endpoints of the HTTPS listener, which authenticates clients.
	Public []netip.AddrPort `json:"public,omitempty"`
	// Private are the endpoints of listeners for parts of the control plane only, or
	// that trust every client: insecure HTTP, and etcd's.
	Private []netip.AddrPort `json:"private,omitempty"`
}

// presences knows this server's presence and the published ones of other servers.
type presences struct {
	config Config
	id     string
	logger *zap.Logger
	record *presenceRecord // nil unless the etcd is shared

	mu       sync.Mutex
	reserved presence // by Reserve

	others atomic.Pointer[[]presence]
}

func newPresences(cfg Config, id string, backend *storage.Backend) (*presences, error) {
	p := &presences{config: cfg, id: id, logger: cfg.Logger}
	if err := p.reserve(cfg.Reserved); err != nil {
		return nil, fieldpath.New("apiserver", "Config.Reserved", "%w", err)
	}
	if cfg.Shared {
		p.record = newPresenceRecord(backend.Client(), backend.Keyspace(), id)
	}
	return p, nil
}

// reserve adds hosts to this server's names and addresses.
func (p *presences) reserve(hosts []string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, host := range hosts {
		if host == "" {
			return fmt.Errorf("a host must not be empty")
		}
		if addr, err := netip.ParseAddr(host); err == nil {
			p.reserved.addAddress(addr)
		} else {
			p.reserved.addName(host)
		}
	}
	return nil
}

func (p *presence) addAddress(addr netip.Addr) {
	if addr = nodeaddress.Canonical(addr); !slices.Contains(p.Addresses, addr) {
		p.Addresses = append(p.Addresses, addr)
	}
}

func (p *presence) addName(name string) {
	if name = strings.ToLower(strings.TrimSuffix(name, ".")); !slices.Contains(p.Names, name) {
		p.Names = append(p.Names, name)
	}
}

// own returns this server's presence. It is computed each time: interfaces and
// certificates change.
func (p *presences) own() presence {
	p.mu.Lock()
	own := presence{Names: slices.Clone(p.reserved.Names), Addresses: slices.Clone(p.reserved.Addresses)}
	p.mu.Unlock()
	// If all nodes are on this machine, they may have its name.
	machine := ""
	if p.config.local() {
		machine, _ = os.Hostname()
	}
	for _, leaf := range servingLeaves(p.config.PKI.Serving().Cert) {
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
	if addr, ok := netip.AddrFromSlice(p.config.AdvertiseAddress); ok && !addr.IsUnspecified() {
		own.addAddress(addr)
	}
	own.Public = p.endpoints(own.Addresses, p.config.Listener)
	own.Private = p.endpoints(own.Addresses, p.config.InsecureListener)
	for _, endpoint := range p.config.PrivateEndpoints {
		own.Private = append(own.Private, p.reachable(own.Addresses, endpoint)...)
	}
	return own
}

// endpoints returns the addresses and ports of listener. It includes the port at each
// of the control plane's addresses, for address translation in front of it.
func (p *presences) endpoints(own []netip.Addr, listener net.Listener) []netip.AddrPort {
	if listener == nil {
		return nil
	}
	tcp, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return nil
	}
	return p.reachable(own, tcp.AddrPort())
}

func (p *presences) reachable(own []netip.Addr, endpoint netip.AddrPort) (all []netip.AddrPort) {
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
	for _, one := range all {
		if prefix, err := netip.ParsePrefix(one.String()); err == nil {
			addrs = append(addrs, prefix.Addr().Unmap().WithZone(""))
		}
	}
	return addrs
}

// local reports whether only this machine can connect to the server, so that all nodes
// are on it.
func (c Config) local() bool {
	tcp, ok := c.Listener.Addr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func servingLeaves(pem []byte) []*x509.Certificate {
	certs, err := cert.ParseCertsPEM(pem)
	if err != nil {
		return nil
	}
	return certs[:1]
}

// known returns this server's presence and the last known ones of the others.
func (p *presences) known() []presence {
	all := []presence{p.own()}
	if others := p.others.Load(); others != nil {
		all = append(all, *others...)
	}
	return all
}

// checkKubelet returns an error if the server must not call a kubelet at an endpoint.
// It may be called on nil.
func (p *presences) checkKubelet(at netip.AddrPort) error {
	if p == nil {
		return nil
	}
	return p.check(at, true)
}

// checkProxy returns an error if the server must not proxy to an endpoint. HTTPS
// endpoints are fine: they authenticate the request, which carries no credentials of
// the server. It may be called on nil.
func (p *presences) checkProxy(at netip.AddrPort) error {
	if p == nil {
		return nil
	}
	return p.check(at, false)
}

func (p *presences) check(at netip.AddrPort, public bool) error {
	at = netip.AddrPortFrom(nodeaddress.Canonical(at.Addr()), at.Port())
	for _, one := range p.known() {
		if slices.Contains(one.Private, at) || public && slices.Contains(one.Public, at) {
			return fmt.Errorf("%s is an endpoint of the control plane", at)
		}
	}
	if p.isEtcd(at) {
		return fmt.Errorf("%s is an endpoint of the control plane's etcd", at)
	}
	return nil
}

// lookupTimeout bounds the resolution of etcd's host names.
const lookupTimeout = 2 * time.Second

// isEtcd reports whether the server's own client of etcd connects to an endpoint.
func (p *presences) isEtcd(at netip.AddrPort) bool {
	if p.config.Client == nil {
		return false
	}
	for _, endpoint := range p.config.Client.Endpoints() {
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

// Reserve keeps nodes from getting serving certificates for hosts, DNS names and IP
// addresses without ports, in addition to those of Config.Reserved, for as long as the
// server runs. Other servers know them when it returns. If etcd is unavailable, it logs
// a warning, and they know them soon after etcd is back.
func (s *Server) Reserve(ctx context.Context, hosts ...string) error {
	if err := s.generic.presences.reserve(hosts); err != nil {
		return fmt.Errorf("apiserver: reserve: %w", err)
	}
	if err := s.generic.presences.publish(ctx); err != nil {
		s.config.Logger.Warn("other servers do not know reserved names yet; they will be published again", zap.Error(err))
	}
	return nil
}

// Reserved returns the names and addresses of all servers that share the etcd, with
// those of Config.Reserved and Reserve of each, and the DNS names of webhooks that are
// called by a URL.
func (s *Server) Reserved(ctx context.Context) (names []string, addrs []netip.Addr, err error) {
	p := s.generic.presences
	if err := p.refresh(ctx); err != nil {
		return nil, nil, fmt.Errorf("apiserver: names of other servers: %w", err)
	}
	var all presence
	for _, one := range p.known() {
		for _, name := range one.Names {
			all.addName(name)
		}
		for _, addr := range one.Addresses {
			all.addAddress(addr)
		}
	}
	hosts, err := webhook.Hosts(ctx, s.generic.client.AdmissionregistrationV1(), s.servesResource, s.crds())
	if err != nil {
		return nil, nil, fmt.Errorf("apiserver: hosts of webhooks: %w", err)
	}
	for _, host := range hosts {
		all.addName(host)
	}
	return all.Names, all.Addresses, nil
}
