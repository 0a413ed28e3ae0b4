package etcd

import (
	"context"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"google.golang.org/grpc"
)

// newClient returns the in-process client. Upstream's runs a call's server
// side in the caller's goroutine, so reads and writes go through a guard.
func newClient(s *etcdserver.EtcdServer, c *containment, g *gate) *clientv3.Client {
	client := v3client.New(s)
	kv := adapter.KvServerToKvClient(v3rpc.NewQuotaKVServer(s))
	client.KV = clientv3.NewKVFromKVClient(&guardedKV{kv: kv, contain: c, gate: g}, client)
	return client
}

// gate counts calls and refuses new ones once it is closed. A read that finds
// the database closed under it would panic in the host's goroutine.
type gate struct {
	mu     sync.RWMutex
	closed bool
	calls  sync.WaitGroup
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

// close refuses new calls. It does not wait.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// guardedKV passes calls through the gate and the containment.
type guardedKV struct {
	kv      pb.KVClient
	contain *containment
	gate    *gate
}

var _ pb.KVClient = (*guardedKV)(nil)

func guard[Req, Resp any](ctx context.Context, g *guardedKV, in Req, call func(context.Context, Req, ...grpc.CallOption) (Resp, error)) (out Resp, err error) {
	if !g.gate.enter() {
		return out, rpctypes.ErrGRPCStopped
	}
	defer g.gate.leave()
	err = g.contain.run(func() error {
		out, err = call(ctx, in)
		return err
	})
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
