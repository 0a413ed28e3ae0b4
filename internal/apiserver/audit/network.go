// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"net"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// network has the connections to a webhook, which upstream leaves open, and on which it
// waits for answers without a context.
type network struct {
	dialer utilnet.DialFunc
	ctx    context.Context // ends when the server stops
	close  context.CancelFunc
}

func newNetwork(dialer utilnet.DialFunc) *network {
	if dialer == nil {
		dialer = defaultDialer.DialContext
	}
	n := &network{dialer: dialer}
	n.ctx, n.close = context.WithCancel(context.Background())
	return n
}

func (n *network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := n.ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	conn, err := n.dialer(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &tracked{conn, context.AfterFunc(n.ctx, func() { _ = conn.Close() })}, nil
}

// tracked is a connection that is closed with its network.
type tracked struct {
	net.Conn
	forget func() bool
}

func (t *tracked) Close() error {
	t.forget()
	return t.Conn.Close()
}
