// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package failover keeps an etcd client on the members that answer. gRPC does not report
// why it cannot connect, and stays on a member that has stopped answering.
package failover

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/etcdstream"
)

// The values of kube-apiserver (k8s.io/apiserver/pkg/storage/storagebackend/factory).
const (
	KeepAliveTime    = 30 * time.Second
	KeepAliveTimeout = 10 * time.Second
)

// The client leaves a member that does not answer a probe within probeTimeout; there is a
// probe every probeInterval. gRPC's own keepalive cannot be shorter than ten seconds.
const (
	probeInterval = 250 * time.Millisecond
	probeTimeout  = 2 * time.Second
)

// maxRequestBytes is more than etcd recommends as a server's limit.
const maxRequestBytes = 32 << 20

// reconnectDelay is the longest time between two attempts to connect to an endpoint.
// gRPC's default is two minutes.
const reconnectDelay = time.Second

// Client is an etcd client that uses the endpoints that answer, see probe.go.
type Client struct {
	client *clientv3.Client
	dialer *Dialer
	// endpoints returns all current endpoints.
	endpoints func() []string

	cancel context.CancelFunc
	done   chan struct{}
}

// New returns a client that connects lazily. endpoints must return at least one endpoint.
func New(d *Dialer, endpoints func() []string, logger *zap.Logger) (*Client, error) {
	if logger == nil {
		logger = zap.NewNop()
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints(),
		// The limit of the servers may be higher than the client's default.
		MaxCallSendMsgSize:   maxRequestBytes,
		DialKeepAliveTime:    KeepAliveTime,
		DialKeepAliveTimeout: KeepAliveTimeout,
		Logger:               logger,
		DialOptions:          d.options(),
	})
	if err != nil {
		return nil, err
	}
	client.KV = etcdstream.KV(client.Ctx(), client.KV)
	ctx, cancel := context.WithCancel(context.Background())
	n := &Client{client: client, dialer: d, endpoints: endpoints, cancel: cancel, done: make(chan struct{})}
	go n.run(ctx)
	return n, nil
}

// Etcd returns the etcd client. Only Close may close it.
func (n *Client) Etcd() *clientv3.Client { return n.client }

// Dialer returns the dialer of the client.
func (n *Client) Dialer() *Dialer { return n.dialer }

// options returns the options of all connections.
func (d *Dialer) options() []grpc.DialOption {
	return []grpc.DialOption{
		// Members and an external etcd are connected to directly, whatever HTTPS_PROXY
		// says.
		grpc.WithNoProxy(),
		grpc.WithContextDialer(d.dial),
		grpc.WithTransportCredentials(d.credentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectDelay},
			MinConnectTimeout: dialTimeout,
		}),
	}
}

// Close closes the client and waits for its goroutines.
func (n *Client) Close() {
	n.cancel()
	<-n.done
	_ = n.client.Close() // only returns that its context is cancelled
}

// problemOf returns the reason why endpoint does not answer.
func (n *Client) problemOf(endpoint string) error {
	if err := n.dialer.problem(memberaddr.HostPort(endpoint)); err != nil {
		return err
	}
	return errors.New("no answer")
}
