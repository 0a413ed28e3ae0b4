// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log" //nolint:depguard // the type that http.Server takes
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/etcdhttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"

	"github.com/kubembed/kubembed/internal/connlimit"
	"github.com/kubembed/kubembed/internal/etcd/clusterconfig"
	"github.com/kubembed/kubembed/internal/logging"
)

// Package peers serves the other members in place of etcd (embed's servePeers), which
// exits when accept fails because the process has no descriptor left, and lets every
// client hold as many as there are.

const (
	// HeaderTimeout bounds the handshake and the header of a peer's request.
	HeaderTimeout = 30 * time.Second
	// peerShutdownTimeout is etcd's timeout for requests of peers in flight.
	peerShutdownTimeout = time.Second
)

// Server serves the other members.
type Server struct {
	http *http.Server
	done chan struct{}
}

// Serve serves the other members of server at listener until Close. fail is called if the
// listener fails.
func Serve(c *clusterconfig.Cluster, server *embed.Etcd, listener net.Listener, logger *zap.Logger, fail func(error)) (*Server, error) {
	config, err := c.ServeTLS()
	if err != nil {
		return nil, err
	}
	config.NextProtos = nil // as etcd: HTTP/1.1
	handler := etcdhttp.NewPeerHandler(server.GetLogger(), server.Server)
	p := &Server{done: make(chan struct{}), http: &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// TLS has verified a certificate of a member.
			c, _ := r.Context().Value(peerConn{}).(*connlimit.Conn)
			c.Authenticated(connlimit.Peer, "etcd")
			handler.ServeHTTP(w, r)
		}),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, peerConn{}, connlimit.FromConn(conn))
		},
		ReadHeaderTimeout: HeaderTimeout,
		ErrorLog:          log.New(io.Discard, "", 0), // as etcd: any client can cause errors
	}}
	counted := Limited(listener, "etcd-peers", logger)
	go func() {
		defer close(p.done)
		err := p.http.Serve(tls.NewListener(peerListener{counted}, config))
		if !errors.Is(err, http.ErrServerClosed) {
			fail(fmt.Errorf("the listener for peers: %w", err))
		}
	}()
	return p, nil
}

// Cut closes the listener and all connections at once.
func (p *Server) Cut() { _ = p.http.Close() }

// Close ends the server, and gives requests in flight a second. It may be called again.
func (p *Server) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), peerShutdownTimeout)
	defer cancel()
	if p.http.Shutdown(ctx) != nil {
		_ = p.http.Close()
	}
	<-p.done
}

// peerConn is the context key of the connection of a peer's request.
type peerConn struct{}

// Limited counts the connections of a listener for the other members.
func Limited(l net.Listener, name string, logger *zap.Logger) *connlimit.Listener {
	return connlimit.Process.Listener(l, connlimit.Options{Name: name, Logger: logging.Plain(logger)})
}

// peerListener gives peers etcd's timeouts for reads and writes.
type peerListener struct{ net.Listener }

func (l peerListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &timeoutConn{Conn: conn}, nil
}

// timeoutConn fails a read or write that makes no progress for etcd's five seconds, or at
// the deadline, if that is sooner.
type timeoutConn struct {
	net.Conn
	deadline atomic.Pointer[time.Time] // of reads
}

// NetConn returns the connection below.
func (c *timeoutConn) NetConn() net.Conn { return c.Conn }

func (c *timeoutConn) Read(b []byte) (int, error) {
	at := time.Now().Add(rafthttp.ConnReadTimeout)
	if d := c.deadline.Load(); d != nil && d.Before(at) {
		at = *d
	}
	if err := c.Conn.SetReadDeadline(at); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *timeoutConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(rafthttp.ConnWriteTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *timeoutConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *timeoutConn) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		c.deadline.Store(nil)
	} else {
		c.deadline.Store(&t)
	}
	// A waiting read must end at the new deadline.
	return c.Conn.SetReadDeadline(t)
}

// Credentials notes on a connection that its client has presented a certificate.
type Credentials struct {
	credentials.TransportCredentials
}

// ServerHandshake implements credentials.TransportCredentials.
func (k Credentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := k.TransportCredentials.ServerHandshake(raw)
	if err == nil {
		connlimit.FromConn(raw).Authenticated(connlimit.Peer, "etcd")
	}
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (k Credentials) Clone() credentials.TransportCredentials {
	return Credentials{k.TransportCredentials.Clone()}
}
