// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/kubembed/kubembed/internal/etcd/clusterconfig"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/etcd/failover"
	"github.com/kubembed/kubembed/internal/etcd/inmem"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// connectTimeout is how long Connect waits for the first answer.
const connectTimeout = 5 * time.Second

// ErrUnreachable says that no endpoint of an external etcd has answered. The error has
// the reason for each.
var ErrUnreachable = errdefs.ErrUnreachable

// ExternalConfig configures a connection to an external etcd.
type ExternalConfig struct {
	// Endpoints are client URLs with a port, like "https://10.0.0.1:2379", all http
	// or all https. Required.
	Endpoints []string
	// CA, Cert and Key are PEM files for https: the CA of the servers, and the client
	// certificate and its key. They are read again for each connection. If CA is empty,
	// the system's CAs are used; if Cert and Key are empty, the client presents no
	// certificate.
	CA, Cert, Key string
	// Logger receives the client's log. If nil, nothing is logged.
	Logger *zap.Logger
}

// Validate reports every problem of r in one error that names the fields. It reads
// the files.
func (r ExternalConfig) Validate() error {
	if errs := clusterconfig.External(r).Validate(nil); len(errs) > 0 {
		return fieldpath.New("etcd", "", "invalid ExternalConfig: %w", errs.ToAggregate())
	}
	return nil
}

// Connection is a connection to an external etcd. Its methods may be called concurrently.
type Connection struct {
	network *failover.Client
	gateway *inmem.Gateway

	closeOnce sync.Once
	done      chan struct{}
}

// Connect connects to an external etcd, and returns when one of its endpoints has
// answered. Without an answer it returns when ctx ends, or after five seconds, with an
// error that wraps ErrUnreachable and has the reason for each endpoint. etcd must be 3.5
// or newer.
//
// From then on the connection recovers by itself. Calls go to the endpoints in turn, and
// not to an endpoint that has not answered for about two seconds or has no leader: calls
// in flight there fail with code Unavailable. The client repeats reads by itself; whether
// a write was done is unknown then.
func Connect(ctx context.Context, r ExternalConfig) (_ *Connection, err error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	external := clusterconfig.External(r)
	endpoints := slices.Clone(r.Endpoints)
	n, err := failover.New(failover.NewDialer(external.TLSInfo(), external.Encrypted()), func() []string { return endpoints }, r.Logger)
	if err != nil {
		return nil, fieldpath.New("etcd", "", "connect: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := n.WaitReachable(ctx, endpoints); err != nil {
		n.Close()
		return nil, fieldpath.New("etcd", "", "connect: %w", err)
	}
	return &Connection{
		network: n,
		gateway: inmem.NewGateway(func() *grpc.Server { return inmem.NewProxy(n.Etcd()) }),
		done:    make(chan struct{}),
	}, nil
}

// Client returns the client. It is shared and belongs to the connection; callers must
// not close it.
func (c *Connection) Client() *clientv3.Client { return c.network.Etcd() }

// DialContext is like Member.DialContext: calls over the connection use the same
// endpoints and certificates as Client.
func (c *Connection) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	return c.gateway.Dial(ctx)
}

// Done is closed by Close. A connection does not end by itself.
func (c *Connection) Done() <-chan struct{} { return c.done }

// Err is nil: a connection does not end by itself.
func (c *Connection) Err() error { return nil }

// Close closes the connection and waits for all its goroutines. It may be called again,
// and returns nil.
func (c *Connection) Close() error {
	c.closeOnce.Do(func() {
		c.gateway.Refuse()
		c.network.Close()
		c.gateway.Close()
		close(c.done)
	})
	<-c.done
	return nil
}
