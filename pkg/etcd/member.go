// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"net"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/kubembed/kubembed/internal/connlimit"
	"github.com/kubembed/kubembed/internal/etcd/calls"
	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/etcd/failover"
	"github.com/kubembed/kubembed/internal/etcd/inmem"
	"github.com/kubembed/kubembed/internal/etcd/memberdir"
	"github.com/kubembed/kubembed/internal/etcd/peers"
	"github.com/kubembed/kubembed/internal/etcd/upkeep"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Member is a running etcd member. Its methods may be called concurrently.
type Member struct {
	directory  *memberdir.Directory
	standalone bool
	release    func() // unlocks the directory, or undoes a failed start
	contain    *contain.Containment
	etcd       *embed.Etcd
	client     *clientv3.Client
	calls      *calls.Group // reads and writes
	watches    *calls.Group
	gateway    *inmem.Gateway
	upkeep     *upkeep.Upkeep
	lg         *zap.Logger

	// For a member of a cluster only.
	network *failover.Client
	peers   *peers.Server // serves the other members
	clients *grpc.Server  // serves the clients of all members
	// clientListener is the listener of clients.
	clientListener *connlimit.Listener
	serving        sync.WaitGroup // clients, and the goroutines of participate

	closeOnce sync.Once
	closing   chan struct{} // closed when Close begins
	closeErr  error

	doneOnce   sync.Once
	done       chan struct{}
	err        error         // set before done is closed
	supervised chan struct{} // closed when supervise returned
}

// supervise reports an unexpected end of the member by Done and Err.
func (m *Member) supervise() {
	defer close(m.supervised)
	var err error
	select {
	case <-m.closing:
		return
	case <-m.contain.Failed():
	case <-m.etcd.Server.StopNotify():
	case err = <-m.etcd.Err():
	}
	switch {
	case !m.standalone && peers.Removed(m.etcd.Server):
		err = peers.RemovedError(m.etcd.Server)
	case !m.contain.OK():
		err = m.contain.Err()
	case err == nil && m.isClosing():
		return
	case err == nil && !m.standalone:
		// etcd stops by itself only when it learns that it was removed: from its own
		// data, or from another member before that.
		err = peers.RemovedError(m.etcd.Server)
	case err == nil:
		err = errors.New("the server stopped by itself")
	}
	m.calls.Close()
	m.gateway.Refuse()
	m.finish(fieldpath.New("etcd", "", "member failed: %w", err))
}

func (m *Member) isClosing() bool {
	select {
	case <-m.closing:
		return true
	default:
		return false
	}
}

// finish closes done, once, with the reason.
func (m *Member) finish(err error) {
	m.doneOnce.Do(func() {
		m.err = err
		close(m.done)
	})
}

// Client returns the client of the member. It calls the server's functions directly,
// without socket or framing. It is shared and belongs to the member; callers must not
// close it. After Close, and once the member has failed, reads and writes return
// rpctypes.ErrStopped and watches are closed.
//
// The events of a watch are shared with every other watch of the process:
// callers must not change them.
func (m *Member) Client() *clientv3.Client { return m.client }

// DialContext returns an in-memory connection to the gRPC API of the member, or of its
// cluster, for clients that insist on dialling. It has the signature of a net dialer;
// network and addr are ignored. The connection is plain text and stays in the process.
// DialContext returns ErrClosed after Close and once the member has failed.
func (m *Member) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	return m.gateway.Dial(ctx)
}

// Done returns a channel that is closed when the member has stopped, by Close
// or by itself. After the latter, Close must still be called.
func (m *Member) Done() <-chan struct{} { return m.done }

// Err returns the reason why the member stopped by itself. It is nil while the member
// runs and after a successful Close.
func (m *Member) Err() error {
	select {
	case <-m.done:
		return m.err
	default:
		return nil
	}
}
