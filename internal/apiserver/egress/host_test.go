// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/hostcall"
	"github.com/kubembed/kubembed/internal/nodeaddress"
)

func newTestHost(t *testing.T) (*Host, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	h := NewHost(zap.New(core))
	t.Cleanup(h.Close)
	return h, logs
}

// TestHostFails: errors of the host's dialer name its field.
func TestHostFails(t *testing.T) {
	h, logs := newTestHost(t)
	forever := make(chan struct{})
	t.Cleanup(func() { close(forever) })
	for want, dial := range map[string]func(context.Context, string, string) (net.Conn, error){
		"no tunnel":                             func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no tunnel") },
		"the dialer panicked: my":               func(context.Context, string, string) (net.Conn, error) { panic("my") },
		"the dialer returned neither":           func(context.Context, string, string) (net.Conn, error) { return nil, nil },
		"the dialer returned neither a":         func(context.Context, string, string) (net.Conn, error) { return (*net.TCPConn)(nil), nil },
		"the dialer ended its goroutine":        func(context.Context, string, string) (net.Conn, error) { runtime.Goexit(); return nil, nil },
		"no connection to node:10250: too late": func(context.Context, string, string) (net.Conn, error) { <-forever; return nil, nil },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if strings.HasPrefix(want, "no connection") {
			ctx, cancel = context.WithDeadlineCause(ctx, time.Now(), errors.New("too late"))
		}
		conn, err := h.Dial("Config.Dialers.Nodes", dial)(ctx, "tcp", "node:10250")
		if conn != nil || err == nil || !strings.HasPrefix(err.Error(), "Config.Dialers.Nodes: "+want) {
			t.Errorf("got %v, want Config.Dialers.Nodes: %s", err, want)
		}
		cancel()
	}
	for _, message := range []string{"a dialer of the host's panicked", "a dialer of the host's has not connected in time"} {
		if logs.FilterMessage(message).FilterField(zap.String("field", "Config.Dialers.Nodes")).Len() != 1 {
			t.Errorf("no log %q in %v", message, logs.All())
		}
	}
}

// TestBlockedHostIsBounded verifies that users cannot add goroutines without end to a
// dialer that does not return.
func TestBlockedHostIsBounded(t *testing.T) {
	h, _ := newTestHost(t)
	forever := make(chan struct{})
	t.Cleanup(func() { close(forever) })
	dial := h.Contain("Config.Dialers.Nodes", func(context.Context, string, string) (net.Conn, error) { <-forever; return nil, nil })
	gone, leave := context.WithCancel(t.Context())
	leave()
	for range hostcall.Max {
		if _, err := dial(gone, "tcp", "node:10250"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if _, err := dial(gone, "tcp", "node:10250"); err == nil || !strings.Contains(err.Error(), "Config.Dialers.Nodes: the dialer is blocked") {
		t.Errorf("got %v, want the name of the field", err)
	}
}

// faultyConn is a connection whose methods panic.
type faultyConn struct{ net.Conn }

// TestHostConnPanics: net/http calls connections in goroutines of its own.
func TestHostConnPanics(t *testing.T) {
	h, logs := newTestHost(t)
	dial := h.Dial("Config.Dialers.ControlPlane", func(context.Context, string, string) (net.Conn, error) { return faultyConn{}, nil })
	conn, err := dial(t.Context(), "tcp", "webhook:443")
	if err != nil {
		t.Fatal(err)
	}
	_, readErr := conn.Read(nil)
	_, writeErr := conn.Write(nil)
	for method, err := range map[string]error{"Read": readErr, "Write": writeErr, "SetDeadline": conn.SetDeadline(time.Time{}),
		"SetReadDeadline": conn.SetReadDeadline(time.Time{}), "SetWriteDeadline": conn.SetWriteDeadline(time.Time{}), "Close": conn.Close()} {
		if err == nil || !strings.HasPrefix(err.Error(), "Config.Dialers.ControlPlane: "+method+" panicked: ") {
			t.Errorf("%s: got %v", method, err)
		}
	}
	if conn.LocalAddr() == nil || conn.RemoteAddr() == nil {
		t.Error("there is no address")
	}
	if logs.FilterMessage("Read of the host's panicked").FilterField(zap.String("field", "Config.Dialers.ControlPlane")).Len() != 1 {
		t.Errorf("got logs %v", logs.All())
	}
}

// TestHostConnAndError: a connection beside an error is closed.
func TestHostConnAndError(t *testing.T) {
	h, _ := newTestHost(t)
	one, other := net.Pipe()
	dial := h.Dial("Config.Dialers.Nodes", func(context.Context, string, string) (net.Conn, error) { return one, errors.New("no tunnel") })
	if conn, err := dial(t.Context(), "tcp", "node:10250"); conn != nil || err == nil {
		t.Errorf("got %v, %v", conn, err)
	}
	if _, err := other.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open")
	}
}

// TestHostLate: a connection that comes after its caller has gone is closed.
func TestHostLate(t *testing.T) {
	h, _ := newTestHost(t)
	connect, ours := make(chan struct{}), make(chan net.Conn, 1)
	ctx, cancel := context.WithCancel(t.Context())
	dial := h.Dial("Config.Dialers.Nodes", func(context.Context, string, string) (net.Conn, error) {
		cancel()
		<-connect
		one, other := net.Pipe()
		ours <- other
		return one, nil
	})
	if _, err := dial(ctx, "tcp", "node:10250"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
	close(connect)
	if _, err := (<-ours).Read(make([]byte, 1)); err == nil {
		t.Error("the late connection is open")
	}
}

// TestHostEnds: after Close no connection is open, and none is made.
func TestHostEnds(t *testing.T) {
	h, _ := newTestHost(t)
	ours := make(chan net.Conn, 2)
	dial := h.Dial("Config.Dialers.ControlPlane", func(context.Context, string, string) (net.Conn, error) {
		one, other := net.Pipe()
		ours <- other
		return one, nil
	})
	if _, err := dial(t.Context(), "tcp", "webhook:443"); err != nil {
		t.Fatal(err)
	}
	h.Close()
	if _, err := (<-ours).Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open")
	}
	if _, err := dial(t.Context(), "tcp", "webhook:443"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: got %v", err)
	}
}

// TestHostIsAskedForCheckedAddresses: the checks of addresses apply before the host's
// dialer is called.
func TestHostIsAskedForCheckedAddresses(t *testing.T) {
	var asked []string
	var unreachable string
	host := func(_ context.Context, _, address string) (net.Conn, error) {
		asked = append(asked, address)
		if address == unreachable {
			return nil, errors.New("unreachable")
		}
		one, _ := net.Pipe()
		return one, nil
	}
	d := NewDialer(t.Context(), zap.NewNop(), host)
	t.Cleanup(d.Close)
	lookups := 0
	d.resolve = func(_ context.Context, _, name string) ([]netip.Addr, error) {
		lookups++
		switch name {
		case "localhost":
			return []netip.Addr{netip.MustParseAddr("::1")}, nil
		case "node-2.example.com":
			return []netip.Addr{netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("::ffff:192.0.2.2")}, nil
		case "mixed.example.com":
			return []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("127.0.0.1")}, nil
		case "unsure.example.com":
			return nil, &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
		}
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	proxied := netip.MustParseAddrPort("192.0.2.7:6443")
	dial := d.ProxyTransport(func(at netip.AddrPort) error {
		if at == proxied {
			return errors.New("reserved")
		}
		return nil
	}).DialContext
	for _, address := range []string{"127.0.0.1:80", "localhost:80", "169.254.169.254:80", "[::ffff:127.0.0.1]:80", proxied.String(), "192.0.2.7:port",
		"mixed.example.com:80", "unsure.example.com:80", "127.1:80", "127.0.0.1.:80", "2130706433:80", "0x7f.1:80", "0x7f000001:80", "0177.0.0.1:80", "09:80", ":80"} {
		if _, err := dial(t.Context(), "tcp", address); err == nil || !strings.Contains(err.Error(), "refused: ") {
			t.Errorf("%s: got %v, want a refusal", address, err)
		}
	}
	if len(asked) > 0 {
		t.Errorf("the host is asked for %q", asked)
	}
	lookups = 0
	for _, address := range []string{"192.0.2.8:10250", "node-1.example.com:10250", "node-2.example.com:10250"} {
		if _, err := dial(t.Context(), "tcp", address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	// It gets an address that has been checked, and not the name, which it might resolve
	// to another one.
	if want := []string{"192.0.2.8:10250", "node-1.example.com:10250", "[2001:db8::2]:10250"}; !slices.Equal(asked, want) || lookups != 2 {
		t.Errorf("the host is asked for %q after %d lookups, want %q", asked, lookups, want)
	}
	asked, unreachable = nil, "[2001:db8::2]:10250"
	if _, err := dial(t.Context(), "tcp", "node-2.example.com:10250"); err != nil || !slices.Equal(asked, []string{unreachable, "192.0.2.2:10250"}) {
		t.Errorf("an address does not answer: the host is asked for %q, %v", asked, err)
	}
	if _, err := d.Dial("kubelet", func(at netip.AddrPort) error { return nodeaddress.CheckKubelet(at.Addr(), false) })(t.Context(), "tcp", "127.0.0.1:10250"); err == nil {
		t.Error("a kubelet on loopback is accepted")
	}
}
