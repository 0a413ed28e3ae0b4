package etcd

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"google.golang.org/grpc"

	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/etcdstream"
)

// newClient returns the in-process client. Upstream's runs a call's server
// side in the caller's goroutine, so reads and writes go through a guard. The
// server side of watches runs in goroutines that upstream's client forgets:
// they go through a gate, at which Close waits for them.
func newClient(s *etcdserver.EtcdServer, c *contain.Containment, calls, watches *gate, u *upkeep) *clientv3.Client {
	client := v3client.New(s)
	server := v3rpc.NewQuotaKVServer(s)
	kv := adapter.KvServerToKvClient(server)
	client.KV = etcdstream.KV(calls.ended, clientv3.NewKVFromKVClient(&guardedKV{server: server, kv: kv, contain: c, gate: calls, upkeep: u}, client))
	watch := adapter.WatchServerToWatchClient(&gatedWatch{v3rpc.NewWatchServer(s), watches})
	client.Watcher = &quietWatcher{clientv3.NewWatchFromWatchClient(watch, client)}
	return client
}

// gatedWatch counts the streams that are served.
type gatedWatch struct {
	pb.WatchServer
	gate *gate
}

func (w *gatedWatch) Watch(stream pb.Watch_WatchServer) error {
	if !w.gate.enter() {
		return rpctypes.ErrGRPCStopped
	}
	defer w.gate.leave()
	return w.WatchServer.Watch(stream)
}

// quietWatcher is v3client's watchWrapper: contexts are not printed, which
// would read their values while others write them.
type quietWatcher struct{ clientv3.Watcher }

func (w *quietWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	return w.Watcher.Watch(&blankContext{ctx}, key, opts...)
}

type blankContext struct{ context.Context }

func (*blankContext) String() string { return "(blankCtx)" }

// gate counts calls and refuses new ones once it is closed. A read that finds
// the database closed under it would panic in the host's goroutine.
type gate struct {
	mu     sync.RWMutex
	closed bool
	calls  sync.WaitGroup
	ended  context.Context // ends with close
	end    context.CancelCauseFunc
}

func newGate() *gate {
	g := &gate{}
	g.ended, g.end = context.WithCancelCause(context.Background())
	return g
}

func (g *gate) enter() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.closed {
		return false
	}
	g.calls.Add(1)
	return true
}

func (g *gate) leave() { g.calls.Done() }

// close refuses new calls, and ends those that wait for their caller. It does not wait.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.end(rpctypes.ErrStopped)
}

// drained is closed when the calls that were let in have ended.
func (g *gate) drained() <-chan struct{} {
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		g.calls.Wait()
	}()
	return drained
}

// waitDrained waits for drained, drainTimeout at most.
func waitDrained(drained <-chan struct{}) {
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-drained:
	case <-timer.C:
	}
}

// guardedKV passes calls through the gate and the containment, and refuses those
// that the disk has no room for.
type guardedKV struct {
	server  pb.KVServer
	kv      pb.KVClient
	contain *contain.Containment
	gate    *gate
	upkeep  *upkeep
}

var _ pb.KVClient = (*guardedKV)(nil)

func guard[Req, Resp any](ctx context.Context, g *guardedKV, in Req, call func(context.Context, Req, ...grpc.CallOption) (Resp, error)) (out Resp, err error) {
	if !g.gate.enter() {
		return out, rpctypes.ErrGRPCStopped
	}
	defer g.gate.leave()
	if err := g.upkeep.space.AdmitRequest(in); err != nil {
		g.upkeep.hurry()
		return out, err
	}
	err = g.contain.Run(func() error {
		out, err = call(ctx, in)
		return err
	})
	if errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		g.upkeep.hurry()
	}
	return out, err
}

func (g *guardedKV) Range(ctx context.Context, in *pb.RangeRequest, _ ...grpc.CallOption) (*pb.RangeResponse, error) {
	return guard(ctx, g, in, g.kv.Range)
}

func (g *guardedKV) Put(ctx context.Context, in *pb.PutRequest, _ ...grpc.CallOption) (*pb.PutResponse, error) {
	return guard(ctx, g, in, g.kv.Put)
}

func (g *guardedKV) DeleteRange(ctx context.Context, in *pb.DeleteRangeRequest, _ ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	return guard(ctx, g, in, g.kv.DeleteRange)
}

func (g *guardedKV) Txn(ctx context.Context, in *pb.TxnRequest, _ ...grpc.CallOption) (*pb.TxnResponse, error) {
	return guard(ctx, g, in, g.kv.Txn)
}

func (g *guardedKV) Compact(ctx context.Context, in *pb.CompactionRequest, _ ...grpc.CallOption) (*pb.CompactionResponse, error) {
	return guard(ctx, g, in, g.kv.Compact)
}
