package etcd

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

	"go.etcd.io/etcd/server/v3/etcdserver/api/etcdhttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"

	"github.com/kubembed/kubembed/internal/connlimit"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/logging"
)

// The member serves the others itself, where etcd would listen by itself (embed's
// servePeers): etcd ends when accept fails because the process has no descriptor left,
// and lets anybody hold as many as there are.

const (
	// peerHeaderTimeout bounds the handshake and the header of a peer's request.
	peerHeaderTimeout = 30 * time.Second
	// peerShutdownTimeout is etcd's, for requests of peers that are under way.
	peerShutdownTimeout = time.Second
)

// peerServer serves the other members.
type peerServer struct {
	http *http.Server
	done chan struct{}
}

// serveTLS is the TLS configuration for peers and for clients.
func (e *entry) serveTLS() (*tls.Config, error) {
	info := e.tlsInfo()
	config, err := info.ServerConfig()
	if err != nil {
		return nil, fieldpath.New("etcd", "Config.Cluster", "%w", err)
	}
	config.MinVersion = tls.VersionTLS12
	return config, nil
}

// listenPeers binds PeerAddr.
func (c *Cluster) listenPeers() (net.Listener, error) {
	listener, err := net.Listen("tcp", c.PeerAddr)
	if err != nil {
		return nil, fieldpath.New("etcd", "Config.Cluster.PeerAddr", "%w: choose an address of this machine with a free port", err)
	}
	return listener, nil
}

// servePeers serves the other members until closePeers.
func (m *Member) servePeers(e *entry, logger *zap.Logger) error {
	config, err := e.serveTLS()
	if err != nil {
		return err
	}
	config.NextProtos = nil // as etcd: HTTP/1.1
	handler := etcdhttp.NewPeerHandler(m.etcd.GetLogger(), m.etcd.Server)
	p := &peerServer{done: make(chan struct{}), http: &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// TLS has verified a certificate of a member.
			c, _ := r.Context().Value(peerConn{}).(*connlimit.Conn)
			c.Authenticated(connlimit.Peer, "etcd")
			handler.ServeHTTP(w, r)
		}),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, peerConn{}, connlimit.FromConn(conn))
		},
		ReadHeaderTimeout: peerHeaderTimeout,
		ErrorLog:          log.New(io.Discard, "", 0), // as etcd: anybody can make errors
	}}
	listener := limited(e.peerListener, "etcd-peers", logger)
	e.peerListener = nil // the server closes it
	m.peers = p
	go func() {
		defer close(p.done)
		err := p.http.Serve(tls.NewListener(peerListener{listener}, config))
		if !errors.Is(err, http.ErrServerClosed) {
			m.contain.Fail(fmt.Errorf("the listener for peers: %w", err))
		}
	}()
	return nil
}

// closePeers ends the server for peers, if there is one. It may be called again.
func (m *Member) closePeers() {
	if m.peers == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), peerShutdownTimeout)
	defer cancel()
	if m.peers.http.Shutdown(ctx) != nil {
		_ = m.peers.http.Close()
	}
	<-m.peers.done
}

// peerConn is the key of the connection that a peer's request has come over.
type peerConn struct{}

// limited counts the connections of a listener for the other members.
func limited(l net.Listener, name string, logger *zap.Logger) *connlimit.Listener {
	return connlimit.Process.Listener(l, connlimit.Options{Name: name, Logger: logging.Plain(logger)})
}

// peerListener gives peers as long to read and to write as etcd does.
type peerListener struct{ net.Listener }

func (l peerListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &timeoutConn{Conn: conn}, nil
}

// timeoutConn ends when nothing can be read or written for etcd's five seconds, or at
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
	// A read that waits is to end by it.
	return c.Conn.SetReadDeadline(t)
}

// knownCredentials notes on a connection that its client has shown a certificate.
type knownCredentials struct {
	credentials.TransportCredentials
}

func (k knownCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := k.TransportCredentials.ServerHandshake(raw)
	if err == nil {
		connlimit.FromConn(raw).Authenticated(connlimit.Peer, "etcd")
	}
	return conn, info, err
}

func (k knownCredentials) Clone() credentials.TransportCredentials {
	return knownCredentials{k.TransportCredentials.Clone()}
}
