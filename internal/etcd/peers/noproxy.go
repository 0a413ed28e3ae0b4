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

// etcd makes the HTTP transports by which members talk to each other with
// http.ProxyFromEnvironment, and offers no way to have them without. HTTPS_PROXY, which
// hosts have for other reasons, then leads them to a proxy that knows nothing of members.
// The functions here remove it from these transports, and are only used where there is a
// proxy.

// anyPeer stands for members that are going to be added: an address of a network that is
// reserved for documentation (RFC 5737).
const anyPeer = "192.0.2.1:2380"

// Proxied reports whether the environment leads requests to members through a proxy.
func Proxied(c *clusterconfig.Cluster) bool {
	// net/http goes to loopback addresses directly, where all members are then.
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

// Transports returns all HTTP transports of a server to other members, and what
// starts and ends the connections to them. They are fields that etcd does not export.
func Transports(s *etcdserver.EtcdServer) (*rafthttp.Transport, []*http.Transport, error) {
	server := reflect.ValueOf(s).Elem()
	raft, ok := hidden(server, "r", "transport").(*rafthttp.Transport)
	if !ok || raft == nil {
		return nil, nil, errors.New("this etcd keeps its transport elsewhere")
	}
	transport := reflect.ValueOf(raft).Elem()
	var all []*http.Transport
	for _, rt := range []any{hidden(server, "peerRt"), hidden(transport, "streamRt"), hidden(transport, "pipelineRt")} {
		t, ok := rt.(*http.Transport)
		if !ok || t == nil {
			return nil, nil, errors.New("this etcd has other transports")
		}
		all = append(all, t)
	}
	return raft, all, nil
}

// hidden returns the value of a field that is not exported, or nil where there is none.
func hidden(v reflect.Value, path ...string) any {
	for _, name := range path {
		if v = v.FieldByName(name); !v.IsValid() {
			return nil
		}
	}
	return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem().Interface() //nolint:gosec // of the field's own type
}

// GoDirect takes the proxy from the transports of a server that has just been started.
// Its connections to the other members are ended before, and begun again after it, so
// that nothing reads the transports meanwhile.
func GoDirect(s *etcdserver.EtcdServer) error {
	raft, all, err := Transports(s)
	if err != nil {
		return fmt.Errorf("etcd: HTTPS_PROXY leads to a proxy that members cannot use (%w): add the addresses of all members to NO_PROXY", err)
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
			raft.RemovePeer(member.ID) // meanwhile
		}
	}
	return nil
}

// PrepareJoin brings the directory of a member that joins to where it is when etcd has
// asked the others who they are, and is killed. etcd goes on from there without asking:
// it would through the proxy, before anybody can take that away. members have been asked
// by us; the leader sends the rest.
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
