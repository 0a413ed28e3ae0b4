// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package egress makes the connections of the API server to kubelets, pods, Services and
// nodes, whose addresses nodes and users determine.
package egress

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"go.uber.org/zap"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"

	"github.com/kubembed/kubembed/internal/connlimit"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/nodeaddress"
)

// Dialer makes the connections of the server to endpoints that nodes and users determine.
// It is safe for concurrent use.
type Dialer struct {
	ctx    context.Context
	logger *zap.Logger
	conns  *lifecycle.Conns
	host   utilnet.DialFunc // nil without a dialer of the host's

	resolve func(ctx context.Context, network, host string) ([]netip.Addr, error) // for host
}

// dialTimeout bounds the time in which a connection is made, as in upstream's default
// transport.
const dialTimeout = 30 * time.Second

// NewDialer returns a Dialer whose connections end with Close, and which makes none after
// ctx has ended. host, if not nil, connects to the endpoints that are accepted here.
func NewDialer(ctx context.Context, logger *zap.Logger, host utilnet.DialFunc) *Dialer {
	return &Dialer{ctx: ctx, logger: logger, conns: lifecycle.NewConns(nil), host: host, resolve: net.DefaultResolver.LookupNetIP}
}

// Close closes all connections, also those in progress.
func (d *Dialer) Close() { d.conns.CloseAll() }

// ProxyTransport returns the transport to pods, Services and other ports of nodes than
// their kubelets'. Users write these addresses, so they must not lead to endpoints that
// only this machine can reach. check refuses further endpoints.
func (d *Dialer) ProxyTransport(check func(netip.AddrPort) error) *http.Transport {
	t := controlplaneapiserver.CreateProxyTransport()
	t.DialContext = d.Dial("proxy", func(at netip.AddrPort) error {
		if err := nodeaddress.CheckProxy(at.Addr()); err != nil {
			return err
		}
		return check(at)
	})
	// A proxy would connect to addresses that were not checked here.
	t.Proxy = nil
	return t
}

// Dial returns a function that connects to the endpoints that check accepts, after it has
// resolved names. purpose is for the log.
func (d *Dialer) Dial(purpose string, check func(netip.AddrPort) error) utilnet.DialFunc {
	logger := d.logger.With(zap.String("for", purpose))
	refused := func(address string, err error) error {
		if err == nil {
			return nil
		}
		logger.Warn("a connection is refused", zap.String("address", address), zap.Error(err))
		return fmt.Errorf("refused: %w", err)
	}
	dialer := net.Dialer{
		Timeout: dialTimeout,
		// A machine that is gone is noticed after 45 seconds, as with upstream's
		// pings of HTTP/2.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3},
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			resolved, err := netip.ParseAddrPort(address)
			if err == nil {
				err = check(resolved)
			}
			return refused(address, err)
		},
	}
	connect := dialer.DialContext
	if d.host != nil {
		connect = func(ctx context.Context, network, address string) (net.Conn, error) {
			return d.dialHost(ctx, network, address, check, refused)
		}
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if d.ctx.Err() != nil {
			return nil, context.Cause(d.ctx)
		}
		// Requests outlive the context that their transport dials with.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(d.ctx, cancel)()
		// A client whose every request opens a connection must not use up the file
		// descriptors of the process.
		conn, err := connlimit.Process.Dial(func() (net.Conn, error) { return connect(ctx, network, address) })
		if err != nil {
			return nil, err
		}
		return d.conns.Track(conn)
	}
}
