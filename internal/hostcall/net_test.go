// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hostcall_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/hostcall"
)

// faultyListener is a listener of the host's.
type faultyListener struct {
	accept func() (net.Conn, error)
	close  func() error
}

func (l faultyListener) Accept() (net.Conn, error) { return l.accept() }
func (l faultyListener) Close() error              { return l.close() }
func (l faultyListener) Addr() net.Addr            { panic("no address") }

type faultyConn struct{ net.Conn }

func contain(accept func() (net.Conn, error), closes func() error) (net.Listener, *observer.ObservedLogs) {
	core, logs := observer.New(zap.ErrorLevel)
	return hostcall.Net{Field: "Config.Listener", Logger: zap.New(core)}.Listener(faultyListener{accept, closes}), logs
}

// TestListenerFails: Accept and Close return errors with the field.
func TestListenerFails(t *testing.T) {
	full := errors.New("no descriptors")
	for want, accept := range map[string]func() (net.Conn, error){
		"no descriptors":                                            func() (net.Conn, error) { return nil, full },
		"Config.Listener: Accept panicked: mine":                    func() (net.Conn, error) { panic("mine") },
		"Config.Listener: Accept ended its goroutine":               func() (net.Conn, error) { runtime.Goexit(); return nil, nil },
		"Config.Listener: Accept returned neither a connection":     func() (net.Conn, error) { return nil, nil },
		"Config.Listener: Accept returned neither a connection nor": func() (net.Conn, error) { return (*faultyConn)(nil), nil },
	} {
		l, logs := contain(accept, func() error { panic("closed") })
		conn, err := l.Accept()
		if conn != nil || err == nil || !strings.HasPrefix(err.Error(), want) || (err == full) != (want == full.Error()) {
			t.Errorf("Accept: got %v, %v, want %s", conn, err, want)
		}
		if at := l.Addr().String(); at != ":0" {
			t.Errorf("got address %s", at)
		}
		for range 2 {
			if err := l.Close(); err == nil || err.Error() != "Config.Listener: Close panicked: closed" {
				t.Errorf("Close: got %v", err)
			}
		}
		if logs.FilterMessage("Close of the host's panicked").Len() != 1 {
			t.Errorf("got logs %v", logs.All())
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: got %v", err)
		}
	}
}

// TestListenerBlocks: Close names the method that has not returned, and Accept returns.
func TestListenerBlocks(t *testing.T) {
	for _, want := range []string{"Config.Listener: Close has not returned within 3s", "Config.Listener: Accept has not returned within 3s after Close"} {
		synctest.Test(t, func(t *testing.T) {
			forever, other := make(chan struct{}), make(chan net.Conn, 1)
			l, _ := contain(func() (net.Conn, error) {
				<-forever
				one, peer := net.Pipe()
				other <- peer
				return one, nil
			}, func() error {
				if strings.Contains(want, "Close has") {
					<-forever
				}
				return nil
			})
			accepted := make(chan error)
			go func() {
				_, err := l.Accept()
				accepted <- err
			}()
			synctest.Wait()
			if err := l.Close(); err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
			if err := <-accepted; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept: got %v", err)
			}
			close(forever)
			if _, err := (<-other).Read(make([]byte, 1)); err == nil {
				t.Error("a connection that came after the end is open")
			}
		})
	}
}

// TestDial: panics and nil connections are errors.
func TestDial(t *testing.T) {
	for want, dial := range map[string]func(context.Context, string, string) (net.Conn, error){
		"Config.Dial: the dialer panicked: mine":                    func(context.Context, string, string) (net.Conn, error) { panic("mine") },
		"Config.Dial: the dialer returned neither a connection nor": func(context.Context, string, string) (net.Conn, error) { return (*net.TCPConn)(nil), nil },
	} {
		c, err := hostcall.Net{Field: "Config.Dial"}.Dial(dial)(t.Context(), "tcp", "etcd:2379")
		if c != nil || err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, %v, want %s", c, err, want)
		}
	}
	if (hostcall.Net{}).Dial(nil) != nil {
		t.Error("no dialer became one")
	}
}

// TestListenerOfTheSystem: there is nothing to contain.
func TestListenerOfTheSystem(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := (hostcall.Net{}).Listener(l); got != l {
		t.Errorf("got a %T", got)
	}
}
