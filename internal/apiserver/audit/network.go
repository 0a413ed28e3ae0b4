// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"net"

	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// network has the connections to a webhook, which upstream leaves open, and on which it
// waits for answers without a context.
type network struct {
	dialer utilnet.DialFunc
	ctx    context.Context // ends with close
	cancel context.CancelFunc
	conns  *lifecycle.Conns
}

func newNetwork(dialer utilnet.DialFunc) *network {
	if dialer == nil {
		dialer = defaultDialer.DialContext
	}
	n := &network{dialer: dialer, conns: lifecycle.NewConns(nil)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// close ends the connections, also later ones.
func (n *network) close() {
	n.cancel()
	n.conns.CloseAll()
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
	return n.conns.Track(conn)
}
