// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"reflect"
	"unsafe"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/pkg/v3/pbutil"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/etcd/clusterconfig"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// etcd creates the HTTP transports between members with http.ProxyFromEnvironment, and
// has no option against it. HTTPS_PROXY, which hosts set for other reasons, then sends
// them to a proxy that does not know the members. The functions here remove the proxy
// from these transports. They are only used if there is a proxy.

// anyPeer stands for members that may be added later: an address of a network that is
// reserved for documentation (RFC 5737).
const anyPeer = "192.0.2.1:2380"

// Proxied reports whether the environment sends requests to members through a proxy.
func Proxied(c *clusterconfig.Cluster) bool {
	// net/http connects to loopback addresses directly, and all members are on loopback
	// then.
	if own, err := netip.ParseAddrPort(c.PeerAddr); err == nil && own.Addr().IsLoopback() {
		return false
	}
	addresses := append([]string{c.PeerAddr, anyPeer}, c.Join...)
	for _, address := range c.InitialCluster {
		addresses = append(addresses, address)
	}
	for _, address := range addresses {
		u := memberaddr.PeerURL(address)
		if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &u}); proxy != nil || err != nil {
			return true
		}
	}
	return false
}

// Transports returns all HTTP transports of a server to other members, and the
// rafthttp.Transport that starts and ends the connections. They are fields that etcd does
// not export.
func Transports(s *etcdserver.EtcdServer) (*rafthttp.Transport, []*http.Transport, error) {
	server := reflect.ValueOf(s).Elem()
	raft, ok := hidden(server, "r", "transport").(*rafthttp.Transport)
	if !ok || raft == nil {
		return nil, nil, errors.New("this version of etcd has its transport in another field")
	}
	transport := reflect.ValueOf(raft).Elem()
	var all []*http.Transport
	for _, rt := range []any{hidden(server, "peerRt"), hidden(transport, "streamRt"), hidden(transport, "pipelineRt")} {
		t, ok := rt.(*http.Transport)
		if !ok || t == nil {
			return nil, nil, errors.New("this version of etcd has other transports")
		}
		all = append(all, t)
	}
	return raft, all, nil
}

// hidden returns the value of an unexported field, or nil if there is none.
func hidden(v reflect.Value, path ...string) any {
	for _, name := range path {
		if v = v.FieldByName(name); !v.IsValid() {
			return nil
		}
	}
	return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem().Interface() //nolint:gosec // of the field's own type
}

// GoDirect removes the proxy from the transports of a server that has just started. It
// ends the connections to the other members before and restarts them after, so that
// nothing reads the transports meanwhile.
func GoDirect(s *etcdserver.EtcdServer) error {
	raft, all, err := Transports(s)
	if err != nil {
		return fmt.Errorf("HTTPS_PROXY leads to a proxy that members cannot use (%w): add the addresses of all members to NO_PROXY", err)
	}
	raft.RemoveAllPeers()
	for _, t := range all {
		t.Proxy = nil
		t.CloseIdleConnections()
	}
	cluster, _ := s.Cluster().(interface{ IsIDRemoved(types.ID) bool })
	for _, member := range s.Cluster().Members() {
		if member.ID == s.MemberID() {
			continue
		}
		raft.AddPeer(member.ID, member.PeerURLs)
		if cluster != nil && cluster.IsIDRemoved(member.ID) {
			raft.RemovePeer(member.ID) // removed meanwhile
		}
	}
	return nil
}

// PrepareJoin writes the directory of a joining member as etcd leaves it if it is killed
// after it has asked the others for the members. etcd continues from there without
// asking, which it would do through the proxy, before GoDirect can remove it. Join has
// asked for members; the leader sends the rest.
func PrepareJoin(c *clusterconfig.Cluster, dir string, cluster types.ID, members []*membership.Member, lg *zap.Logger) (err error) {
	own := memberaddr.Find(members, c.PeerAddr)
	if own == nil {
		return fieldpath.New("etcd", "Config.Cluster.Join", "no member has PeerAddr %s", c.PeerAddr)
	}
	if err := os.MkdirAll(datadir.ToSnapDir(dir), fileutil.PrivateDirMode); err != nil {
		return errdefs.Dir(dir, err)
	}
	be := backend.NewDefaultBackend(lg, datadir.ToBackendFileName(dir))
	tx := be.BatchTx()
	schema.CreateMetaBucket(tx)
	schema.NewMembershipBackend(lg, be).MustCreateBackendBuckets()
	be.ForceCommit()
	if err := be.Close(); err != nil {
		return errdefs.Dir(dir, err)
	}
	metadata := pbutil.MustMarshalMessage(&etcdserverpb.Metadata{NodeID: new(uint64(own.ID)), ClusterID: new(uint64(cluster))})
	w, err := wal.Create(lg, datadir.ToWALDir(dir), metadata)
	if err != nil {
		return errdefs.Dir(dir, err)
	}
	return w.Close()
}
