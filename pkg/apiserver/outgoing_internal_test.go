package apiserver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/nodeaddress"
)

func anywhere(netip.Addr) error { return nil }

func newOutgoing(t *testing.T) (*generic, context.CancelFunc, *observer.ObservedLogs, *net.TCPListener) {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	ctx, cancel := context.WithCancel(t.Context())
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return &generic{ctx: ctx, config: Config{Logger: zap.New(core)}, outgoing: newConns(nil)}, cancel, logs, listener.(*net.TCPListener)
}

// A name is judged by what it is resolved to when it is connected to.
func TestDialerChecksNames(t *testing.T) {
	g, _, logs, listener := newOutgoing(t)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	_, err := g.dialer("proxy", nodeaddress.CheckProxy)(t.Context(), "tcp", net.JoinHostPort("localhost", port))
	if err == nil || !strings.Contains(err.Error(), "refused: ") || !strings.Contains(err.Error(), "is a loopback address") {
		t.Errorf("got %v", err)
	}
	if entries := logs.FilterMessage("a connection is refused").FilterField(zap.String("for", "proxy")); entries.Len() == 0 {
		t.Errorf("log: %v", logs.All())
	}
	if _, err := g.proxyTransport().DialContext(t.Context(), "tcp", listener.Addr().String()); err == nil {
		t.Error("what others proxy through connects to loopback")
	}
	conn, err := g.dialer("test", anywhere)(t.Context(), "tcp", net.JoinHostPort("localhost", port))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// Nothing is connected, and nothing more can be, when the server has stopped.
func TestDialerEnds(t *testing.T) {
	g, cancel, _, listener := newOutgoing(t)
	dial := g.dialer("test", anywhere)
	conn, err := dial(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	g.outgoing.closeAll()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("open connection: %v", err)
	}
	if _, err := dial(t.Context(), "tcp", listener.Addr().String()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	cancel()
	if _, err := dial(t.Context(), "tcp", listener.Addr().String()); !errors.Is(err, context.Canceled) {
		t.Errorf("when the server ends: %v", err)
	}
}
