// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/kubembed/kubembed/internal/etcdstream"
)

// unreachableAfter is how long calls wait for an unreachable etcd. A client needs less to
// find another member.
const unreachableAfter = 3 * time.Second

// errUnreachable is the error of calls that do not wait any longer.
var errUnreachable = errors.New("etcd cannot be reached")

// availability follows whether etcd is reachable. Calls of an etcd client wait for a
// connection until their context ends, which takes a minute for a request to the API
// server.
type availability struct {
	conn   *grpc.ClientConn
	cancel context.CancelFunc
	done   chan struct{}

	mu        sync.Mutex
	reachable context.Context // ends when etcd has been unreachable for unreachableAfter
	markLost  context.CancelFunc
}

// newAvailability returns nil for a client that needs no connection.
func newAvailability(client *clientv3.Client) *availability {
	conn := client.ActiveConnection()
	if conn == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(client.Ctx())
	a := &availability{conn: conn, cancel: cancel, done: make(chan struct{})}
	a.reachable, a.markLost = context.WithCancel(context.Background())
	go a.run(ctx)
	return a
}

func (a *availability) close() {
	if a == nil {
		return
	}
	a.cancel()
	<-a.done
}

// run follows the connection until ctx ends.
func (a *availability) run(ctx context.Context) {
	defer close(a.done)
	defer func() { a.markLost() }()
	for ctx.Err() == nil {
		a.conn.WaitForStateChange(ctx, connectivity.Ready)
		if a.ready(ctx, unreachableAfter) || ctx.Err() != nil {
			continue
		}
		a.markLost()
		if a.ready(ctx, 0) {
			a.mu.Lock()
			a.reachable, a.markLost = context.WithCancel(context.Background())
			a.mu.Unlock()
		}
	}
}

// ready waits until there is a connection, no longer than timeout unless that is 0.
func (a *availability) ready(ctx context.Context, timeout time.Duration) bool {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	for {
		state := a.conn.GetState()
		switch state {
		case connectivity.Ready:
			return true
		case connectivity.Idle:
			a.conn.Connect()
		}
		if !a.conn.WaitForStateChange(ctx, state) {
			return false
		}
	}
}

// bound returns a context for a call, and a function that converts the error of the call.
func (a *availability) bound(ctx context.Context) (context.Context, func(error) error) {
	a.mu.Lock()
	reachable := a.reachable
	a.mu.Unlock()
	bound, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(reachable, cancel)
	return bound, func(err error) error {
		stop()
		cancel()
		if err != nil && ctx.Err() == nil && reachable.Err() != nil {
			return errUnreachable
		}
		return err
	}
}

// boundedKV does not wait for an unreachable etcd.
type boundedKV struct {
	clientv3.KV
	availability *availability
}

func bounded[T any](ctx context.Context, a *availability, call func(context.Context) (T, error)) (T, error) {
	ctx, done := a.bound(ctx)
	result, err := call(ctx)
	return result, done(err)
}

func (k boundedKV) Put(ctx context.Context, key, value string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	return bounded(ctx, k.availability, func(ctx context.Context) (*clientv3.PutResponse, error) { return k.KV.Put(ctx, key, value, opts...) })
}

func (k boundedKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return bounded(ctx, k.availability, func(ctx context.Context) (*clientv3.GetResponse, error) { return k.KV.Get(ctx, key, opts...) })
}

// GetStream bounds the whole stream.
func (k boundedKV) GetStream(ctx context.Context, key string, opts ...clientv3.OpOption) (clientv3.GetStreamChan, error) {
	ctx, done := k.availability.bound(ctx)
	stream, err := k.KV.GetStream(ctx, key, opts...)
	if err != nil {
		return nil, done(err)
	}
	return etcdstream.Relay(ctx, stream, done), nil
}

func (k boundedKV) Delete(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	return bounded(ctx, k.availability, func(ctx context.Context) (*clientv3.DeleteResponse, error) { return k.KV.Delete(ctx, key, opts...) })
}

func (k boundedKV) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	return bounded(ctx, k.availability, func(ctx context.Context) (clientv3.OpResponse, error) { return k.KV.Do(ctx, op) })
}

func (k boundedKV) Txn(ctx context.Context) clientv3.Txn {
	ctx, done := k.availability.bound(ctx)
	return &boundedTxn{Txn: k.KV.Txn(ctx), done: done}
}

type boundedTxn struct {
	clientv3.Txn
	done func(error) error
}

func (t *boundedTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { t.Txn = t.Txn.If(cs...); return t }
func (t *boundedTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(ops...); return t }
func (t *boundedTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(ops...); return t }

func (t *boundedTxn) Commit() (*clientv3.TxnResponse, error) {
	response, err := t.Txn.Commit()
	return response, t.done(err)
}

// boundedLease does the same for the leases of objects that expire.
type boundedLease struct {
	clientv3.Lease
	availability *availability
}

func (l boundedLease) Grant(ctx context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	return bounded(ctx, l.availability, func(ctx context.Context) (*clientv3.LeaseGrantResponse, error) { return l.Lease.Grant(ctx, ttl) })
}
