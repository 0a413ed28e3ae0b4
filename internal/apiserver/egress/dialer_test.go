// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/connlimit"
	"github.com/kubembed/kubembed/internal/nodeaddress"
)

func anywhere(netip.AddrPort) error { return nil }

func newTestDialer(t *testing.T) (*Dialer, context.CancelFunc, *observer.ObservedLogs, *net.TCPListener) {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	ctx, cancel := context.WithCancel(t.Context())
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return NewDialer(ctx, zap.New(core), nil), cancel, logs, listener.(*net.TCPListener)
}

// The dialer checks the address to which a name resolves when it connects.
func TestDialerChecksNames(t *testing.T) {
	d, _, logs, listener := newTestDialer(t)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	_, err := d.Dial("proxy", func(at netip.AddrPort) error { return nodeaddress.CheckProxy(at.Addr()) })(t.Context(), "tcp", net.JoinHostPort("localhost", port))
	if err == nil || !strings.Contains(err.Error(), "refused: ") || !strings.Contains(err.Error(), "is a loopback address") {
		t.Errorf("got %v", err)
	}
	if entries := logs.FilterMessage("a connection is refused").FilterField(zap.String("for", "proxy")); entries.Len() == 0 {
		t.Errorf("log: %v", logs.All())
	}
	if _, err := d.ProxyTransport(anywhere).DialContext(t.Context(), "tcp", listener.Addr().String()); err == nil {
		t.Error("what others proxy through connects to loopback")
	}
	conn, err := d.Dial("test", anywhere)(t.Context(), "tcp", net.JoinHostPort("localhost", port))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// After the server has stopped, no connection is open, and none can be made.
func TestDialerEnds(t *testing.T) {
	d, cancel, _, listener := newTestDialer(t)
	dial := d.Dial("test", anywhere)
	conn, err := dial(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d.Close()
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

// TestOutgoingConnectionsCount: the server opens them on behalf of clients.
func TestOutgoingConnectionsCount(t *testing.T) {
	d, _, _, listener := newTestDialer(t)
	before := connlimit.Process.Stats().Open
	conn, err := d.Dial("test", anywhere)(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if open := connlimit.Process.Stats().Open; open != before+1 {
		t.Errorf("%d connections after one more than %d", open, before)
	}
	_ = conn.Close()
	if open := connlimit.Process.Stats().Open; open != before {
		t.Errorf("%d connections after one was closed; before it, %d", open, before)
	}
}
