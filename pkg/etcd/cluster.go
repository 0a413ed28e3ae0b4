package etcd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/pkg/v3/featuregate"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/features"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/etcd/dbcheck"
	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Cluster says which member of which cluster a member is.
type Cluster struct {
	// Name is that of the member. It must not change in the life of Dir. Required.
	Name string
	// PeerAddr is the IP address and port under which the other members reach this
	// one. It must not change in the life of Dir. Required.
	PeerAddr string
	// ClientAddr is the IP address and port where it serves the clients of the other
	// members. If empty, the address of PeerAddr and a free port, which the others
	// learn from the cluster.
	ClientAddr string
	// InitialCluster maps the names of the first members, this one among them, to
	// their PeerAddr. It has no effect once Dir has data. Required, unless Join is set.
	InitialCluster map[string]string
	// Join lists the PeerAddr of members of a running cluster that has been told of
	// this one by AddMember. It has no effect once Dir has data.
	Join []string
	// CA, Cert and Key are PEM files: the authority of all members, and a certificate
	// of it for client and server, for the addresses of this one. Whoever has another
	// one of that authority can read and write everything. Cert and Key are read again
	// for each connection. Required.
	CA, Cert, Key string
}

// The raft clock of a member that has others, etcd's defaults: an election begins
// when nothing has been heard of the leader for one to two seconds.
const (
	clusterTickMs        = 100
	clusterElectionTicks = 10
)

// How much of the raft log is kept for followers that lag behind, a quarter of
// etcd's defaults: every entry pins a written object on the heap. A follower that
// lags further gets the database.
const (
	clusterCatchUpEntries = 1250
	clusterSnapshotCount  = 2500
)

func (c *Cluster) clone() *Cluster {
	if c == nil {
		return nil
	}
	clone := *c
	clone.InitialCluster, clone.Join = maps.Clone(c.InitialCluster), slices.Clone(c.Join)
	return &clone
}

// identity returns nil for a standalone member.
func (c *Cluster) identity() *dbcheck.Identity {
	if c == nil {
		return nil
	}
	return &dbcheck.Identity{Name: c.Name, PeerAddr: c.PeerAddr}
}

// ValidateFields reports every problem of c at a path. It reads no file.
func (c *Cluster) ValidateFields(at *field.Path) (errs field.ErrorList) {
	if c.Name == "" {
		errs = append(errs, field.Required(at.Child("Name"), "name this member of the cluster"))
	}
	address := func(at *field.Path, value string, zero bool) {
		ip, err := netip.ParseAddrPort(value)
		if err != nil || !zero && ip.Port() == 0 || ip.Addr().Unmap().IsUnspecified() {
			errs = append(errs, field.Invalid(at, value, `must be an IP address and a port, like "10.0.0.1:2380"`))
		}
	}
	if c.PeerAddr == "" {
		errs = append(errs, field.Required(at.Child("PeerAddr"), `where the other members reach this one, like "10.0.0.1:2380"`))
	} else {
		address(at.Child("PeerAddr"), c.PeerAddr, false)
	}
	if c.ClientAddr != "" {
		address(at.Child("ClientAddr"), c.ClientAddr, true)
		if c.ClientAddr == c.PeerAddr {
			errs = append(errs, field.Invalid(at.Child("ClientAddr"), c.ClientAddr, "the same as PeerAddr: choose another port"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.InitialCluster)) {
		at := at.Child("InitialCluster").Key(name)
		address(at, c.InitialCluster[name], false)
		for other, value := range c.InitialCluster {
			if other < name && value == c.InitialCluster[name] {
				errs = append(errs, field.Duplicate(at, value))
			}
		}
	}
	for i, value := range c.Join {
		address(at.Child("Join").Index(i), value, false)
	}
	switch own, ok := c.InitialCluster[c.Name]; {
	case len(c.Join) > 0 && len(c.InitialCluster) > 0:
		errs = append(errs, field.Forbidden(at.Child("Join"), "InitialCluster is set too: a member either begins a cluster or joins one"))
	case len(c.Join) > 0:
	case len(c.InitialCluster) == 0:
		errs = append(errs, field.Required(at.Child("InitialCluster"), "the first members' names and addresses, or Join for a cluster that runs"))
	case !ok && c.Name != "":
		errs = append(errs, field.Invalid(at.Child("InitialCluster"), c.InitialCluster, fmt.Sprintf("%q, the Name of this member, is not in it", c.Name)))
	case ok && c.PeerAddr != "" && own != c.PeerAddr:
		errs = append(errs, field.Invalid(at.Child("InitialCluster").Key(c.Name), own, fmt.Sprintf("must be PeerAddr, which is %s", c.PeerAddr)))
	}
	return errs
}

// validateFiles says what is wrong with the certificates.
func (c *Cluster) validateFiles(at *field.Path) (errs field.ErrorList) {
	for _, f := range []struct{ name, file string }{{"CA", c.CA}, {"Cert", c.Cert}, {"Key", c.Key}} {
		if f.file == "" {
			errs = append(errs, field.Required(at.Child(f.name), "members know each other by certificates"))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return ExternalConfig{CA: c.CA, Cert: c.Cert, Key: c.Key}.validateFiles(at, false)
}

// tlsInfo is for servers and clients alike. The address that a member connects from
// is none of its certificate's names where it has several: what counts is the
// authority, which signs for members only.
func (c *Cluster) tlsInfo() transport.TLSInfo {
	return transport.TLSInfo{
		TrustedCAFile: c.CA, CertFile: c.Cert, KeyFile: c.Key, ClientCertFile: c.Cert, ClientKeyFile: c.Key,
		ClientCertAuth: true, SkipClientSANVerify: true, Logger: zap.NewNop(),
	}
}

// token keeps clusters of different authorities at the same addresses apart.
func (c *Cluster) token() (string, error) {
	ca, err := os.ReadFile(c.CA)
	if err != nil {
		return "", fieldpath.New("etcd", "Config.Cluster.CA", "%w", err)
	}
	sum := sha256.Sum256(ca)
	return "kubembed-" + hex.EncodeToString(sum[:8]), nil
}

// listenClients binds ClientAddr. Its port is known before the member is told of it.
func (c *Cluster) listenClients() (net.Listener, error) {
	address := c.ClientAddr
	if address == "" {
		address = net.JoinHostPort(memberaddr.Host(c.PeerAddr), "0")
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fieldpath.New("etcd", "Config.Cluster.ClientAddr", "%w: choose an address of this machine with a free port", err)
	}
	return listener, nil
}

// checkPeerAddr finds out early that PeerAddr cannot be listened at. It is bound for
// good when the member is about to serve: until then, others that ask who is there are
// refused, and do not have to wait.
func (c *Cluster) checkPeerAddr() error {
	listener, err := c.listenPeers()
	if err != nil {
		return err
	}
	return listener.Close()
}

// entry is what a member needs to enter its cluster.
type entry struct {
	*Cluster
	peers   *peers
	clients net.Listener
	// peerListener is bound at PeerAddr from apply on.
	peerListener net.Listener
	// members are those of the cluster that it joins. Nil is the first start of
	// InitialCluster, or a later start, when none of them count.
	members types.URLsMap
	// joined is the answer that they are from.
	joined answer
	// fresh says that the directory has no data.
	fresh bool
	// proxied says that the environment leads to a proxy, see direct.go.
	proxied bool
}

// enter finds out before etcd does what keeps a member out of its cluster. fresh says
// that the directory has no data.
func (c *Cluster) enter(ctx context.Context, fresh bool) (_ *entry, err error) {
	if err := c.checkPeerAddr(); err != nil {
		return nil, err
	}
	e := &entry{Cluster: c, fresh: fresh, proxied: c.proxied()}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if e.peers, err = newPeers(c); err != nil {
		return nil, err
	}
	switch {
	case fresh && len(c.Join) > 0:
		e.members, e.joined, err = c.join(ctx, e.peers)
	case fresh:
		err = c.begin(ctx, e.peers)
	}
	if err != nil {
		return nil, err
	}
	if e.clients, err = c.listenClients(); err != nil {
		return nil, err
	}
	return e, nil
}

// close ends what only a start needs.
func (e *entry) close() {
	if e.peers != nil {
		e.peers.close()
	}
	for _, listener := range []net.Listener{e.clients, e.peerListener} {
		if listener != nil {
			_ = listener.Close()
		}
	}
}

// apply makes ec the configuration of a member that has others.
func (e *entry) apply(ec *embed.Config) error {
	c, members := e.Cluster, e.members
	token, err := c.token()
	if err != nil {
		return err
	}
	ec.Name = c.Name
	peer := memberaddr.PeerURL(c.PeerAddr)
	if e.peerListener, err = c.listenPeers(); err != nil {
		return err
	}
	// Peers are served by servePeers, and clients by serveClients.
	ec.ListenPeerUrls, ec.AdvertisePeerUrls = nil, []url.URL{peer}
	ec.ListenClientUrls, ec.AdvertiseClientUrls = nil, []url.URL{memberaddr.PeerURL(e.clients.Addr().String())}
	ec.PeerTLSInfo, ec.ClientTLSInfo = c.tlsInfo(), c.tlsInfo()
	ec.InitialClusterToken = token
	if members != nil {
		ec.ClusterState = embed.ClusterStateFlagExisting
	} else {
		members = types.URLsMap{}
		for name, address := range c.InitialCluster {
			members[name] = types.URLs{memberaddr.PeerURL(address)}
		}
		if len(members) == 0 {
			// A member that has joined, later: etcd wants to see itself.
			members[c.Name] = types.URLs{peer}
		}
	}
	ec.InitialCluster = members.String()
	ec.TickMs, ec.ElectionMs = clusterTickMs, clusterElectionTicks*clusterTickMs
	// A member that comes back must not force an election on those that have a leader.
	ec.PreVote = true
	ec.InitialElectionTickAdvance = true
	ec.StrictReconfigCheck = true
	// See agree.go.
	if err := ec.ServerFeatureGate.(featuregate.MutableFeatureGate).SetFromMap(map[string]bool{string(features.CompactHashCheck): true}); err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	ec.SnapshotCount, ec.SnapshotCatchUpEntries = clusterSnapshotCount, clusterCatchUpEntries
	return nil
}

// serveClients serves the clients of the other members, and our own.
func (m *Member) serveClients(e *entry, logger *zap.Logger) error {
	config, err := e.serveTLS()
	if err != nil {
		return err
	}
	m.clients = newServer(m.etcd.Server, m.contain, m.upkeep,
		grpc.Creds(knownCredentials{credentials.NewTLS(config)}), grpc.ConnectionTimeout(peerHeaderTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepAliveTimeout / 2}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepAliveTime, Timeout: keepAliveTimeout}))
	listener := limited(e.clients, "etcd-clients", logger)
	m.clientListener = listener
	e.clients = nil // the server closes it
	m.serving.Go(func() { _ = m.clients.Serve(listener) })
	return nil
}

// participate makes the member one of its cluster, and returns when that has a leader.
func (m *Member) participate(ctx context.Context, e *entry, logger *zap.Logger) error {
	if e.proxied {
		if err := goDirect(m.etcd.Server); err != nil {
			return err
		}
	}
	if err := m.servePeers(e, logger); err != nil {
		return err
	}
	if err := m.await(ctx, e.Cluster, e.peers); err != nil {
		return err
	}
	if !e.fresh {
		if err := m.agree(ctx, e.Cluster, e.peers, m.upkeep.lg); err != nil {
			return err
		}
	}
	if err := m.serveClients(e, logger); err != nil {
		return err
	}
	// An ordinary client over all members that vote: when this one cannot serve,
	// others do.
	var err error
	if m.network, err = newNetwork(newDialer(e.tlsInfo(), true), m.clientURLs, logger); err != nil {
		return err
	}
	_ = m.client.Close()
	m.client = m.network.client
	m.gateway.set(func() *grpc.Server { return newProxy(m.client) })
	m.serving.Go(m.promoteSelf)
	m.serving.Go(func() { m.watchAlarms(e.Cluster, m.upkeep.lg) })
	m.serving.Go(func() { m.watchMembers(e.Cluster, m.upkeep.lg) })
	return nil
}

// clientURLs are where the members that vote serve clients. Learners refuse most of
// what clients ask for.
func (m *Member) clientURLs() []string {
	var urls []string
	for _, member := range m.etcd.Server.Cluster().Members() {
		if !member.IsLearner {
			urls = append(urls, member.ClientURLs...)
		}
	}
	if len(urls) == 0 {
		// The only member that votes has yet to say where; asking ourselves is no worse.
		urls = append(urls, m.etcd.Server.Cluster().ClientURLs()...)
	}
	slices.Sort(urls)
	return urls
}

// leave ends what participate began. The clients of others go elsewhere.
func (m *Member) leave() {
	if m.network != nil {
		m.network.close()
	}
	if m.clients != nil {
		// gRPC would wait for the handshakes of clients that never send a byte.
		_ = m.clientListener.Close()
		m.clientListener.CloseUnauthenticated()
		m.clients.Stop()
	}
	m.serving.Wait()
}

// forgetUnlessPromised ends a first start that failed: what it wrote is removed, unless
// the member may have voted, which it must remember. Its term is then more than one.
func (m *Member) forgetUnlessPromised() {
	if m.etcd.Server.Term() <= 1 {
		m.directory.Undo()
	} else {
		m.directory.Unlock()
	}
}
