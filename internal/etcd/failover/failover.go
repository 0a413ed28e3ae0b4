// Package failover keeps the client of an etcd on the members that answer. gRPC tells
// nobody why it cannot connect, and stays on a member that has stopped to answer.
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

// As kube-apiserver has them (k8s.io/apiserver/pkg/storage/storagebackend/factory).
const (
	KeepAliveTime    = 30 * time.Second
	KeepAliveTimeout = 10 * time.Second
)

// How soon a member is left that has stopped to answer: it is asked every
// probeInterval, and has probeTimeout to answer. gRPC's own keepalive cannot be
// shorter than ten seconds.
const (
	probeInterval = 250 * time.Millisecond
	probeTimeout  = 2 * time.Second
)

// reconnectDelay is the longest time between two tries to connect to an endpoint.
// gRPC's own is two minutes.
const reconnectDelay = time.Second

// Client is a client over endpoints, of which it uses those that answer, see probe.go.
type Client struct {
	client *clientv3.Client
	dialer *Dialer
	// endpoints are all there are at the moment.
	endpoints func() []string

	cancel context.CancelFunc
	done   chan struct{}
}

// New connects lazily. endpoints returns at least one.
func New(d *Dialer, endpoints func() []string, logger *zap.Logger) (*Client, error) {
	if logger == nil {
		logger = zap.NewNop()
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            endpoints(),
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

// Etcd returns the etcd client. It is closed by Close only.
func (n *Client) Etcd() *clientv3.Client { return n.client }

// Dialer returns the dialer of the client.
func (n *Client) Dialer() *Dialer { return n.dialer }

// options are for all connections.
func (d *Dialer) options() []grpc.DialOption {
	return []grpc.DialOption{
		// Members and an external etcd are reached directly, whatever HTTPS_PROXY says.
		grpc.WithNoProxy(),
		grpc.WithContextDialer(d.dial),
		grpc.WithTransportCredentials(d.credentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectDelay},
			MinConnectTimeout: dialTimeout,
		}),
	}
}

// Close ends the client and waits for what it has started.
func (n *Client) Close() {
	n.cancel()
	<-n.done
	_ = n.client.Close() // only ever says that its context is cancelled
}

// problemOf returns why endpoint cannot be connected to.
func (n *Client) problemOf(endpoint string) error {
	if err := n.dialer.problem(memberaddr.HostPort(endpoint)); err != nil {
		return err
	}
	return errors.New("no answer")
}
