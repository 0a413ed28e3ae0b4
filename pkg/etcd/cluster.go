// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"net"
	"net/url"
	"slices"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/pkg/v3/featuregate"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/features"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/kubembed/kubembed/internal/etcd/clusterconfig"
	"github.com/kubembed/kubembed/internal/etcd/consistency"
	"github.com/kubembed/kubembed/internal/etcd/dbcheck"
	"github.com/kubembed/kubembed/internal/etcd/failover"
	"github.com/kubembed/kubembed/internal/etcd/heldport"
	"github.com/kubembed/kubembed/internal/etcd/inmem"
	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/etcd/memberwatch"
	"github.com/kubembed/kubembed/internal/etcd/peers"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Cluster makes a member part of a cluster.
type Cluster struct {
	// Name is the name of the member. It must not change in the life of Dir. Required.
	Name string
	// PeerAddr is the IP address and port at which the other members reach this one. It
	// must not change in the life of Dir. Required.
	PeerAddr string
	// ClientAddr is the IP address and port at which the member serves the clients of the
	// other members. If empty, the address of PeerAddr and a free port, which the others
	// learn from the cluster.
	ClientAddr string
	// InitialCluster maps the names of the initial members, including this one, to their
	// PeerAddr. It has no effect once Dir has data. Required, unless Join is set.
	InitialCluster map[string]string
	// Join lists the PeerAddr of members of a running cluster that AddMember has added
	// this one to. It has no effect once Dir has data.
	Join []string
	// CA, Cert and Key are PEM files: the CA of all members, and a certificate of that CA
	// for client and server authentication at the addresses of this member. Every holder
	// of a certificate of that CA can read and write all data. Cert and Key are read
	// again for each connection. Required.
	CA, Cert, Key string
}

// The raft clock of a member of a cluster, etcd's defaults: an election begins when the
// leader has been silent for one to two seconds.
const (
	clusterTickMs     = 100
	clusterElectionMs = uint(failover.ElectionTimeout / time.Millisecond)
)

// The part of the raft log that is kept for followers that lag behind, a quarter of
// etcd's defaults: every entry pins a written object on the heap. A follower that lags
// further gets the database.
const (
	clusterCatchUpEntries = 1250
	clusterSnapshotCount  = 2500
)

// config returns c as the type that has its methods.
func (c *Cluster) config() *clusterconfig.Cluster { return (*clusterconfig.Cluster)(c) }

// identity returns nil for a standalone member.
func (c *Cluster) identity() *dbcheck.Identity {
	if c == nil {
		return nil
	}
	return &dbcheck.Identity{Name: c.Name, PeerAddr: c.PeerAddr}
}

// entry holds the listeners and answers that a member needs to enter its cluster.
type entry struct {
	*clusterconfig.Cluster
	peers   *peers.Client
	clients net.Listener
	// peerListener is bound at PeerAddr, and refuses connections until the member serves.
	peerListener *heldport.Listener
	// members are the members of the cluster that it joins. They are nil in the first
	// start of InitialCluster and in later starts, which do not need them.
	members types.URLsMap
	// joined is the answer that has members.
	joined peers.Answer
	// fresh says that the directory has no data.
	fresh bool
	// proxied says that the environment sets a proxy, see peers.Proxied.
	proxied bool
}

// enter checks for everything that would keep the member out of its cluster, before etcd
// starts. fresh says that the directory has no data.
func (c *Cluster) enter(ctx context.Context, fresh bool) (_ *entry, err error) {
	config := c.config()
	listener, err := config.ListenPeers()
	if err != nil {
		return nil, err
	}
	e := &entry{Cluster: config, fresh: fresh, proxied: peers.Proxied(config), peerListener: listener}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if e.peers, err = peers.New(config); err != nil {
		return nil, err
	}
	switch {
	case fresh && len(c.Join) > 0:
		e.members, e.joined, err = e.peers.Join(ctx, config)
	case fresh:
		err = e.peers.CheckNew(ctx, config)
	}
	if err != nil {
		return nil, err
	}
	if e.clients, err = config.ListenClients(); err != nil {
		return nil, err
	}
	return e, nil
}

// close releases the resources that only a start needs.
func (e *entry) close() {
	if e.peers != nil {
		e.peers.Close()
	}
	if e.clients != nil {
		_ = e.clients.Close()
	}
	if e.peerListener != nil {
		_ = e.peerListener.Close()
	}
}

// apply makes ec the configuration of a member of a cluster.
func (e *entry) apply(ec *embed.Config) error {
	c, members := e.Cluster, e.members
	token, err := c.Token()
	if err != nil {
		return err
	}
	ec.Name = c.Name
	peer := memberaddr.PeerURL(c.PeerAddr)
	// peers.Serve serves the peers, and serveClients the clients.
	ec.ListenPeerUrls, ec.AdvertisePeerUrls = nil, []url.URL{peer}
	ec.ListenClientUrls, ec.AdvertiseClientUrls = nil, []url.URL{memberaddr.PeerURL(e.clients.Addr().String())}
	ec.PeerTLSInfo, ec.ClientTLSInfo = c.TLSInfo(), c.TLSInfo()
	ec.InitialClusterToken = token
	if members != nil {
		ec.ClusterState = embed.ClusterStateFlagExisting
	} else {
		members = types.URLsMap{}
		for name, address := range c.InitialCluster {
			members[name] = types.URLs{memberaddr.PeerURL(address)}
		}
		if len(members) == 0 {
			// A later start of a member that has joined: etcd requires itself in the
			// list.
			members[c.Name] = types.URLs{peer}
		}
	}
	ec.InitialCluster = members.String()
	ec.TickMs, ec.ElectionMs = clusterTickMs, clusterElectionMs
	// A member that restarts must not force an election on a cluster that has a leader.
	ec.PreVote = true
	ec.InitialElectionTickAdvance = true
	ec.StrictReconfigCheck = true
	// See package consistency.
	if err := ec.ServerFeatureGate.(featuregate.MutableFeatureGate).SetFromMap(map[string]bool{string(features.CompactHashCheck): true}); err != nil {
		return fieldpath.New("etcd", "", "%w", err)
	}
	ec.SnapshotCount, ec.SnapshotCatchUpEntries = clusterSnapshotCount, clusterCatchUpEntries
	return nil
}

// serveClients serves the clients of all members.
func (m *Member) serveClients(e *entry, logger *zap.Logger) error {
	config, err := e.ServeTLS()
	if err != nil {
		return err
	}
	m.clients = inmem.NewServer(m.etcd.Server, m.contain, m.upkeep,
		grpc.Creds(peers.Credentials{TransportCredentials: credentials.NewTLS(config)}), grpc.ConnectionTimeout(peers.HeaderTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: failover.KeepAliveTimeout / 2}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: failover.KeepAliveTime, Timeout: failover.KeepAliveTimeout}))
	listener := peers.Limited(e.clients, "etcd-clients", logger)
	m.clientListener = listener
	e.clients = nil // the server closes it
	m.serving.Go(func() { _ = m.clients.Serve(listener) })
	return nil
}

// participate makes the member part of its cluster, and returns when the cluster has a
// leader.
func (m *Member) participate(ctx context.Context, e *entry, logger *zap.Logger) error {
	if e.proxied {
		if err := peers.GoDirect(m.etcd.Server); err != nil {
			return err
		}
	}
	listener := e.peerListener.Release()
	e.peerListener = nil
	var err error
	if m.peers, err = peers.Serve(e.Cluster, m.etcd, listener, logger, m.contain.Fail); err != nil {
		_ = listener.Close()
		return err
	}
	if err := e.peers.Await(ctx, e.Cluster, m.etcd.Server, m.done, m.Err); err != nil {
		return err
	}
	checker := &consistency.Checker{
		Server: m.etcd.Server, Cluster: e.Cluster, Dir: m.directory.Dir, Contain: m.contain, Upkeep: m.upkeep, Log: m.lg,
		Closing: m.closing, Done: m.done, Err: m.Err,
	}
	if !e.fresh {
		if err := checker.CheckStart(ctx, e.peers); err != nil {
			return err
		}
	}
	if err := m.serveClients(e, logger); err != nil {
		return err
	}
	// An ordinary client over all voting members: if this one cannot serve, others do.
	if m.network, err = failover.New(failover.NewDialer(e.TLSInfo(), true), m.clientURLs, logger); err != nil {
		return err
	}
	_ = m.client.Close()
	m.client = m.network.Etcd()
	m.gateway.Set(func() *grpc.Server { return inmem.NewProxy(m.client) })
	m.serving.Go(m.promoteSelf)
	m.serving.Go(checker.WatchAlarms)
	m.serving.Go(func() { memberwatch.Run(m.etcd.Server, e.Cluster, m.closing, m.done, m.lg) })
	return nil
}

// clientURLs are the client URLs of the voting members. Learners refuse most requests of
// clients.
func (m *Member) clientURLs() []string {
	var urls []string
	for _, member := range m.etcd.Server.Cluster().Members() {
		if !member.IsLearner {
			urls = append(urls, member.ClientURLs...)
		}
	}
	if len(urls) == 0 {
		// The only voting member has not published its URL yet; this member is no worse.
		urls = append(urls, m.etcd.Server.Cluster().ClientURLs()...)
	}
	slices.Sort(urls)
	return urls
}

// leave stops the work that participate started. The clients of other members use the
// other members.
func (m *Member) leave() {
	if m.network != nil {
		m.network.Close()
	}
	if m.clients != nil {
		// gRPC would wait for the handshakes of clients that send nothing.
		_ = m.clientListener.Close()
		m.clientListener.CloseUnauthenticated()
		m.clients.Stop()
	}
	m.serving.Wait()
}

// undoUnlessVoted ends a failed first start. It removes the data, unless the member
// may have voted, which it must remember. Its term is then more than one.
func (m *Member) undoUnlessVoted() {
	if m.etcd.Server.Term() <= 1 {
		m.directory.Undo()
	} else {
		m.directory.Unlock()
	}
}
