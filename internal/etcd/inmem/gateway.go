// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inmem

import (
	"context"
	"fmt"
	"net"
	"sync"

	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/etcd/upkeep"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// pipeBytes is the buffer of one direction of one in-memory connection.
const pipeBytes = 32 << 10

// Gateway is a gRPC server with in-memory connections. The first dial starts it: most
// control planes dial once or never.
type Gateway struct {
	server func() *grpc.Server

	mu       sync.Mutex
	closed   bool
	listener *bufconn.Listener
	conns    *lifecycle.Conns // of listener
	grpc     *grpc.Server
	serving  sync.WaitGroup
}

// NewGateway returns a gateway. The first dial calls server to create the gRPC server.
func NewGateway(server func() *grpc.Server) *Gateway { return &Gateway{server: server} }

// Dial returns an in-memory connection. It returns errdefs.ErrClosed after Refuse.
func (g *Gateway) Dial(ctx context.Context) (net.Conn, error) {
	listener, err := g.listen()
	if err != nil {
		return nil, err
	}
	conn, err := listener.DialContext(ctx)
	if err != nil {
		if g.isClosed() {
			return nil, errdefs.ErrClosed
		}
		return nil, fmt.Errorf("etcd: dial: %w", err)
	}
	return conn, nil
}

// listen starts the server at the first dial.
func (g *Gateway) listen() (*bufconn.Listener, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, errdefs.ErrClosed
	}
	if g.listener == nil {
		g.listener = bufconn.Listen(pipeBytes)
		g.conns = lifecycle.NewConns(g.listener)
		g.grpc = g.server()
		g.serving.Go(func() { _ = g.grpc.Serve(g.conns) })
	}
	return g.listener, nil
}

func (g *Gateway) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// Set changes the function that creates the server. It has no effect after the first
// dial.
func (g *Gateway) Set(server func() *grpc.Server) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.server = server
}

// Refuse makes further dials fail.
func (g *Gateway) Refuse() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// Close closes every connection and waits for the handlers.
func (g *Gateway) Close() {
	g.Refuse()
	if g.grpc != nil {
		// Stop does not close connections that have not begun to use HTTP/2, and waits
		// two minutes for them.
		g.conns.CloseAll()
		g.grpc.Stop()
		g.serving.Wait()
	}
}

// NewServer returns a gRPC server over s. It contains calls that panic, and refuses
// requests that the disk has no space for.
func NewServer(s *etcdserver.EtcdServer, c *contain.Containment, u *upkeep.Upkeep, opts ...grpc.ServerOption) *grpc.Server {
	unary := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
		if err := u.Disk().AdmitRequest(req); err != nil {
			return nil, err
		}
		err = c.Run(func() error {
			resp, err = handler(ctx, req)
			return err
		})
		return resp, err
	}
	stream := func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return c.Run(func() error { return handler(srv, stream) })
	}
	return v3rpc.Server(s, nil, unary, append(opts,
		grpc.ChainStreamInterceptor(stream),
		grpc.WaitForHandlers(true))...) // otherwise handlers could read a closed database after its stop
}
