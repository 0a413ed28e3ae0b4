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

// unreachableAfter is how long calls wait for an etcd that cannot be connected to. It
// is more than what a client takes to find another member.
const unreachableAfter = 3 * time.Second

// errUnreachable is what they get then.
var errUnreachable = errors.New("etcd cannot be reached")

// reach knows whether etcd can be connected to. The client of etcd has calls wait for
// a connection until their context ends, which for a request to the API server is
// after a minute.
type reach struct {
	conn   *grpc.ClientConn
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	up   context.Context // ends when etcd has been out of reach for too long
	lost context.CancelFunc
}

// newReach returns nil for a client that needs no connection.
func newReach(client *clientv3.Client) *reach {
	conn := client.ActiveConnection()
	if conn == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(client.Ctx())
	r := &reach{conn: conn, cancel: cancel, done: make(chan struct{})}
	r.up, r.lost = context.WithCancel(context.Background())
	go r.run(ctx)
	return r
}

func (r *reach) close() {
	if r == nil {
		return
	}
	r.cancel()
	<-r.done
}

// run follows the connection until ctx ends.
func (r *reach) run(ctx context.Context) {
	defer close(r.done)
	defer func() { r.lost() }()
	for ctx.Err() == nil {
		r.conn.WaitForStateChange(ctx, connectivity.Ready)
		if r.ready(ctx, unreachableAfter) || ctx.Err() != nil {
			continue
		}
		r.lost()
		if r.ready(ctx, 0) {
			r.mu.Lock()
			r.up, r.lost = context.WithCancel(context.Background())
			r.mu.Unlock()
		}
	}
}

// ready waits until there is a connection, no longer than timeout unless that is 0.
func (r *reach) ready(ctx context.Context, timeout time.Duration) bool {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	for {
		state := r.conn.GetState()
		switch state {
		case connectivity.Ready:
			return true
		case connectivity.Idle:
			r.conn.Connect()
		}
		if !r.conn.WaitForStateChange(ctx, state) {
			return false
		}
	}
}

// bound returns a context for a call, and what to do with its error afterwards.
func (r *reach) bound(ctx context.Context) (context.Context, func(error) error) {
	r.mu.Lock()
	up := r.up
	r.mu.Unlock()
	bound, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(up, cancel)
	return bound, func(err error) error {
		stop()
		cancel()
		if err != nil && ctx.Err() == nil && up.Err() != nil {
			return errUnreachable
		}
		return err
	}
}

// reachKV does not wait for an etcd that is out of reach.
type reachKV struct {
	clientv3.KV
	reach *reach
}

func bounded[T any](ctx context.Context, r *reach, call func(context.Context) (T, error)) (T, error) {
	ctx, done := r.bound(ctx)
	result, err := call(ctx)
	return result, done(err)
}

func (k reachKV) Put(ctx context.Context, key, value string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	return bounded(ctx, k.reach, func(ctx context.Context) (*clientv3.PutResponse, error) { return k.KV.Put(ctx, key, value, opts...) })
}

func (k reachKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return bounded(ctx, k.reach, func(ctx context.Context) (*clientv3.GetResponse, error) { return k.KV.Get(ctx, key, opts...) })
}

// GetStream bounds the whole stream.
func (k reachKV) GetStream(ctx context.Context, key string, opts ...clientv3.OpOption) (clientv3.GetStreamChan, error) {
	ctx, done := k.reach.bound(ctx)
	stream, err := k.KV.GetStream(ctx, key, opts...)
	if err != nil {
		return nil, done(err)
	}
	return etcdstream.Relay(ctx, stream, done), nil
}

func (k reachKV) Delete(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	return bounded(ctx, k.reach, func(ctx context.Context) (*clientv3.DeleteResponse, error) { return k.KV.Delete(ctx, key, opts...) })
}

func (k reachKV) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	return bounded(ctx, k.reach, func(ctx context.Context) (clientv3.OpResponse, error) { return k.KV.Do(ctx, op) })
}

func (k reachKV) Txn(ctx context.Context) clientv3.Txn {
	ctx, done := k.reach.bound(ctx)
	return &reachTxn{Txn: k.KV.Txn(ctx), done: done}
}

type reachTxn struct {
	clientv3.Txn
	done func(error) error
}

func (t *reachTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { t.Txn = t.Txn.If(cs...); return t }
func (t *reachTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(ops...); return t }
func (t *reachTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(ops...); return t }

func (t *reachTxn) Commit() (*clientv3.TxnResponse, error) {
	response, err := t.Txn.Commit()
	return response, t.done(err)
}

// reachLease is the same for the leases of objects that expire.
type reachLease struct {
	clientv3.Lease
	reach *reach
}

func (l reachLease) Grant(ctx context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	return bounded(ctx, l.reach, func(ctx context.Context) (*clientv3.LeaseGrantResponse, error) { return l.Lease.Grant(ctx, ttl) })
}
