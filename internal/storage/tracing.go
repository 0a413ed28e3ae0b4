// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	oteltrace "go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/stats"
	"k8s.io/component-base/tracing"

	"github.com/kubembed/kubembed/internal/etcdstream"
)

// Trace gives provider a span for each call of etcd, except watches, like the spans of
// upstream's etcd client. Call it before the backend is used. A nil provider has no
// effect. The provider must not panic: some calls are in goroutines of the watch cache.
//
// Upstream's spans come from a gRPC handler, and a member in this process is called
// without gRPC. The handler is called here, around the methods of the client. It also
// puts the trace into the metadata of calls over gRPC.
func (b *Backend) Trace(provider oteltrace.TracerProvider) {
	if provider == nil {
		return
	}
	t := &tracer{otelgrpc.NewClientHandler(otelgrpc.WithPropagators(tracing.Propagators()), otelgrpc.WithTracerProvider(provider))}
	b.client.KV = tracedKV{b.client.KV, t}
	b.client.Lease = tracedLease{b.client.Lease, t}
	for _, override := range b.overrides {
		override.Trace(provider)
	}
}

// Methods of etcd, as in the spans of upstream's client.
const (
	methodRange       = "/etcdserverpb.KV/Range"
	methodRangeStream = "/etcdserverpb.KV/RangeStream"
	methodPut         = "/etcdserverpb.KV/Put"
	methodDeleteRange = "/etcdserverpb.KV/DeleteRange"
	methodTxn         = "/etcdserverpb.KV/Txn"
	methodLeaseGrant  = "/etcdserverpb.Lease/LeaseGrant"
)

type tracer struct{ handler stats.Handler }

// begin begins a span, and returns the function that ends it with an error or nil.
func (t *tracer) begin(ctx context.Context, method string) (context.Context, func(error)) {
	traced := t.handler.TagRPC(ctx, &stats.RPCTagInfo{FullMethodName: method})
	return traced, func(err error) { t.handler.HandleRPC(traced, &stats.End{Client: true, Error: err}) }
}

func traced[T any](ctx context.Context, t *tracer, method string, call func(context.Context) (T, error)) (T, error) {
	ctx, end := t.begin(ctx, method)
	result, err := call(ctx)
	end(err)
	return result, err
}

type tracedKV struct {
	clientv3.KV
	*tracer
}

func (k tracedKV) Put(ctx context.Context, key, value string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	return traced(ctx, k.tracer, methodPut, func(ctx context.Context) (*clientv3.PutResponse, error) { return k.KV.Put(ctx, key, value, opts...) })
}

func (k tracedKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return traced(ctx, k.tracer, methodRange, func(ctx context.Context) (*clientv3.GetResponse, error) { return k.KV.Get(ctx, key, opts...) })
}

// GetStream has a span for the whole stream.
func (k tracedKV) GetStream(ctx context.Context, key string, opts ...clientv3.OpOption) (clientv3.GetStreamChan, error) {
	ctx, cancel := context.WithCancel(ctx)
	ctx, end := k.begin(ctx, methodRangeStream)
	done := func(err error) error {
		cancel()
		end(err)
		return err
	}
	stream, err := k.KV.GetStream(ctx, key, opts...)
	if err != nil {
		return nil, done(err)
	}
	return etcdstream.Relay(ctx, stream, done), nil
}

func (k tracedKV) Delete(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	return traced(ctx, k.tracer, methodDeleteRange, func(ctx context.Context) (*clientv3.DeleteResponse, error) { return k.KV.Delete(ctx, key, opts...) })
}

func (k tracedKV) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	method := methodTxn
	switch {
	case op.IsGet():
		method = methodRange
	case op.IsPut():
		method = methodPut
	case op.IsDelete():
		method = methodDeleteRange
	}
	return traced(ctx, k.tracer, method, func(ctx context.Context) (clientv3.OpResponse, error) { return k.KV.Do(ctx, op) })
}

func (k tracedKV) Txn(ctx context.Context) clientv3.Txn {
	ctx, end := k.begin(ctx, methodTxn)
	return &tracedTxn{k.KV.Txn(ctx), end}
}

type tracedTxn struct {
	clientv3.Txn
	end func(error)
}

func (t *tracedTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { t.Txn = t.Txn.If(cs...); return t }
func (t *tracedTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(ops...); return t }
func (t *tracedTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(ops...); return t }

func (t *tracedTxn) Commit() (*clientv3.TxnResponse, error) {
	response, err := t.Txn.Commit()
	t.end(err)
	return response, err
}

// tracedLease traces the leases of objects that expire.
type tracedLease struct {
	clientv3.Lease
	*tracer
}

func (l tracedLease) Grant(ctx context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	return traced(ctx, l.tracer, methodLeaseGrant, func(ctx context.Context) (*clientv3.LeaseGrantResponse, error) { return l.Lease.Grant(ctx, ttl) })
}
