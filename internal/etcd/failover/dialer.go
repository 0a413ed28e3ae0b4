// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package failover

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// dialTimeout bounds one attempt to connect to one endpoint, with its handshake.
const dialTimeout = 3 * time.Second

// Dialer opens the connections of a client and records them. gRPC does not report why it
// cannot connect, and keeps a connection to a member that has stopped answering, with all
// calls on it.
type Dialer struct {
	tls transport.TLSInfo
	// encrypted says that the endpoints are https.
	encrypted bool

	mu       sync.Mutex
	open     map[string]map[*dialed]struct{} // by address
	problems map[string]error                // of the last attempt, by address
}

// NewDialer returns a Dialer. encrypted says that the endpoints are https.
func NewDialer(info transport.TLSInfo, encrypted bool) *Dialer {
	return &Dialer{tls: info, encrypted: encrypted, open: map[string]map[*dialed]struct{}{}, problems: map[string]error{}}
}

func (d *Dialer) dial(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{KeepAlive: 10 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		d.note(addr, err)
		return nil, err
	}
	if !d.encrypted {
		d.note(addr, nil)
	}
	c := &dialed{Conn: conn, dialer: d, addr: addr}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[addr] == nil {
		d.open[addr] = map[*dialed]struct{}{}
	}
	d.open[addr][c] = struct{}{}
	return c, nil
}

// cut closes the connections to addr, so that calls on them use another endpoint.
func (d *Dialer) cut(addr string) {
	for _, c := range d.connections(addr) {
		_ = c.Close()
	}
}

// connections returns the open connections to addr.
func (d *Dialer) connections(addr string) []*dialed {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.open[addr]))
}

// Connections returns the number of open connections to addr.
func (d *Dialer) Connections(addr string) int { return len(d.connections(addr)) }

// note records why there is no connection to addr, or nil for a connection.
func (d *Dialer) note(addr string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.problems[addr] = err
}

// problem returns the error of the last attempt to connect to addr, or nil.
func (d *Dialer) problem(addr string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.problems[addr]
}

// credentials returns the transport credentials for the scheme of the endpoints.
func (d *Dialer) credentials() credentials.TransportCredentials {
	if !d.encrypted {
		return insecure.NewCredentials()
	}
	return &freshTLS{TransportCredentials: credentials.NewTLS(nil), dialer: d}
}

// freshTLS reads the files again for each handshake, including the CA.
type freshTLS struct {
	credentials.TransportCredentials
	dialer *Dialer
}

func (f *freshTLS) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, dialed := conn.(*dialed)
	config, err := f.config()
	if err == nil {
		var info credentials.AuthInfo
		if conn, info, err = credentials.NewTLS(config).ClientHandshake(ctx, authority, conn); err == nil {
			if dialed {
				conn = &refusal{Conn: conn, dialed: c}
			}
			return conn, info, nil
		}
	}
	if dialed {
		f.dialer.note(c.addr, err)
	}
	return nil, nil, err
}

func (f *freshTLS) config() (*tls.Config, error) { return f.dialer.tls.ClientConfig() }

func (f *freshTLS) Clone() credentials.TransportCredentials {
	return &freshTLS{TransportCredentials: f.TransportCredentials.Clone(), dialer: f.dialer}
}

// dialed is a connection that its dialer records until it is closed.
type dialed struct {
	net.Conn
	dialer *Dialer
	addr   string
}

func (c *dialed) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.open[c.addr], c)
	if len(c.dialer.open[c.addr]) == 0 {
		delete(c.dialer.open, c.addr)
	}
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}

// refusal notes the server's refusal of the client's certificate, which comes not with
// the handshake but with the first read. Until then the error of the previous connection
// stays: a call that ends in between returns it.
type refusal struct {
	net.Conn
	dialed   *dialed
	answered atomic.Bool
}

func (c *refusal) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	switch {
	case err == nil:
		if c.answered.CompareAndSwap(false, true) {
			c.dialed.dialer.note(c.dialed.addr, nil)
		}
	case IsTLSAlert(err):
		c.dialed.dialer.note(c.dialed.addr, err)
	}
	return n, err
}

// IsTLSAlert reports whether the other side has ended a TLS connection by an alert, for
// which crypto/tls exports no type.
func IsTLSAlert(err error) bool {
	var operation *net.OpError
	return errors.As(err, &operation) && operation.Op == "remote error"
}
