package apiserver

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
	"github.com/kubembed/kubembed/internal/nodeaddress"
)

// proxyTransport is how the server proxies to pods, Services and other ports of
// nodes than their kubelets': addresses that others have written, and that must
// not lead to what only this machine can reach.
func (g *generic) proxyTransport() *http.Transport {
	t := controlplaneapiserver.CreateProxyTransport()
	t.DialContext = g.endpointDialer("proxy", func(at netip.AddrPort) error {
		if err := nodeaddress.CheckProxy(at.Addr()); err != nil {
			return err
		}
		return g.presences.checkProxy(at)
	})
	// A proxy would connect to what has not been checked here.
	t.Proxy = nil
	return t
}

// dialer is endpointDialer for whatever port.
func (g *generic) dialer(what string, allowed func(netip.Addr) error) utilnet.DialFunc {
	return g.endpointDialer(what, func(at netip.AddrPort) error { return allowed(at.Addr()) })
}

// endpointDialer connects to endpoints that allowed has no objection to, after names
// have been resolved. Its connections end when the server stops.
func (g *generic) endpointDialer(what string, allowed func(netip.AddrPort) error) utilnet.DialFunc {
	logger := g.config.Logger.With(zap.String("for", what))
	d := net.Dialer{
		Timeout: 30 * time.Second,
		// A machine that is gone is noticed after 45 seconds, as with upstream's
		// pings of HTTP/2.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3},
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			resolved, err := netip.ParseAddrPort(address)
			if err == nil {
				err = allowed(resolved)
			}
			if err != nil {
				logger.Warn("a connection is refused", zap.String("address", address), zap.Error(err))
				return fmt.Errorf("refused: %w", err)
			}
			return nil
		},
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if g.ctx.Err() != nil {
			return nil, context.Cause(g.ctx)
		}
		// Requests do not end with the context that their transport dials with.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(g.ctx, cancel)()
		// A client whose every request opens a connection must not use up the
		// descriptors of the process.
		conn, err := connlimit.Process.Dial(func() (net.Conn, error) { return d.DialContext(ctx, network, address) })
		if err != nil {
			return nil, err
		}
		return g.outgoing.track(conn)
	}
}
