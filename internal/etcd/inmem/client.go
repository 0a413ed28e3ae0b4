// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package inmem has the client that calls a member in the same process, without socket or
// framing, and in-memory gRPC connections for callers that insist on dialling.
package inmem

import (
	"context"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"google.golang.org/grpc"

	"github.com/kubembed/kubembed/internal/etcd/calls"
	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/etcd/upkeep"
	"github.com/kubembed/kubembed/internal/etcdstream"
)

// Member is the running member that a client is for.
type Member struct {
	Server         *etcdserver.EtcdServer
	Contain        *contain.Containment
	Calls, Watches *calls.Group
	Upkeep         *upkeep.Upkeep
	// OpenSnapshot begins a snapshot of the member.
	OpenSnapshot func(context.Context) (Snapshot, error)
}

// Snapshot is etcd.Snapshot.
type Snapshot interface {
	io.ReadCloser
	Size() int64
}

// NewClient returns the in-process client. Upstream's client runs the server side of a
// call in the caller's goroutine, so reads and writes go through guardedKV. The server
// side of watches runs in goroutines that upstream's client does not wait for:
// Member.Watches counts them.
func NewClient(m Member) *clientv3.Client {
	s := m.Server
	client := v3client.New(s)
	server := v3rpc.NewQuotaKVServer(s)
	kv := adapter.KvServerToKvClient(server)
	client.KV = etcdstream.KV(m.Calls.Ended(), clientv3.NewKVFromKVClient(&guardedKV{server: server, kv: kv, contain: m.Contain, calls: m.Calls, upkeep: m.Upkeep}, client))
	watch := adapter.WatchServerToWatchClient(&countedWatch{v3rpc.NewWatchServer(s), m.Watches})
	client.Watcher = &quietWatcher{clientv3.NewWatchFromWatchClient(watch, client)}
	replaceRest(client, m)
	return client
}

// countedWatch counts the served streams.
type countedWatch struct {
	pb.WatchServer
	calls *calls.Group
}

func (w *countedWatch) Watch(stream pb.Watch_WatchServer) error {
	end, ok := w.calls.Begin()
	if !ok {
		return rpctypes.ErrGRPCStopped
	}
	defer end()
	return w.WatchServer.Watch(stream)
}

// quietWatcher is v3client's watchWrapper: it keeps contexts from being printed, which
// would read their values while other goroutines write them.
type quietWatcher struct{ clientv3.Watcher }

func (w *quietWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	return w.Watcher.Watch(&blankContext{ctx}, key, opts...)
}

type blankContext struct{ context.Context }

func (*blankContext) String() string { return "(blankCtx)" }

// guardedKV counts and contains calls, and refuses requests that the disk has no space
// for.
type guardedKV struct {
	server  pb.KVServer
	kv      pb.KVClient
	contain *contain.Containment
	calls   *calls.Group
	upkeep  *upkeep.Upkeep
}

var _ pb.KVClient = (*guardedKV)(nil)

func guard[Req, Resp any](ctx context.Context, g *guardedKV, in Req, call func(context.Context, Req, ...grpc.CallOption) (Resp, error)) (out Resp, err error) {
	end, ok := g.calls.Begin()
	if !ok {
		return out, rpctypes.ErrGRPCStopped
	}
	defer end()
	if err := g.upkeep.Disk().AdmitRequest(in); err != nil {
		g.upkeep.Hurry()
		return out, err
	}
	err = g.contain.Run(func() error {
		out, err = call(ctx, in)
		return err
	})
	if errors.Is(err, rpctypes.ErrGRPCNoSpace) {
		g.upkeep.Hurry()
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
