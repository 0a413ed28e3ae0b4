// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"net"
	"runtime"
	"testing"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
)

// faultyListener is a listener of the host's.
type faultyListener struct {
	net.Listener
	accept func() (net.Conn, error)
	close  func()
}

func (l faultyListener) Accept() (net.Conn, error) {
	if l.accept == nil {
		return l.Listener.Accept()
	}
	return l.accept()
}

func (l faultyListener) Close() error {
	err := l.Listener.Close()
	if l.close != nil {
		l.close()
	}
	return err
}

// TestListenerFails: the server fails with the name of the field, and the process goes
// on.
func TestListenerFails(t *testing.T) {
	for want, accept := range map[string]func() (net.Conn, error){
		"Config.Listener: Accept panicked: mine":                func() (net.Conn, error) { panic("mine") },
		"Config.Listener: Accept ended its goroutine":           func() (net.Conn, error) { runtime.Goexit(); return nil, nil },
		"Config.Listener: Accept returned neither a connection": func() (net.Conn, error) { return nil, nil },
	} {
		t.Run(want, func(t *testing.T) {
			p := startPlane(t, func(c *apiserver.Config) { c.Listener = faultyListener{Listener: c.Listener, accept: accept} })
			testwait.True(t, "the failure of the server", func() bool { return p.Err() != nil })
			if err := p.Err(); !contains(err, want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// TestListenerCloseFails: panics of Close are errors of Stop.
func TestListenerCloseFails(t *testing.T) {
	panics := func(c *apiserver.Config) {
		c.Listener = faultyListener{Listener: c.Listener, close: func() { panic("mine") }}
		c.InsecureListener = faultyListener{Listener: must(net.Listen("tcp", "127.0.0.1:0"))(t), close: runtime.Goexit}
	}
	p := must(newPlane(t.TempDir(), panics))(t)
	err := p.close()
	for _, want := range []string{"Config.Listener: Close panicked: mine", "Config.InsecureListener: Close ended its goroutine"} {
		if !contains(err, want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
