// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package heldport keeps a bound port until it is served, so that no other process takes
// it.
package heldport

import (
	"errors"
	"net"
	"os"
	"time"
)

// acceptPause is the time after an error of Accept that may pass.
const acceptPause = 5 * time.Millisecond

// Listener keeps a port that is not served. It closes connections at once, so that
// clients do not wait.
type Listener struct {
	listener *net.TCPListener
	refusing chan struct{} // closed when no more connections are refused
}

// Listen binds a TCP address and refuses its connections until Release or Close.
func Listen(address string) (*Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return Hold(listener.(*net.TCPListener)), nil
}

// Hold refuses the connections of listener until Release or Close.
func Hold(listener *net.TCPListener) *Listener {
	_ = listener.SetDeadline(time.Time{})
	l := &Listener{listener: listener, refusing: make(chan struct{})}
	go func() {
		defer close(l.refusing)
		for {
			conn, err := listener.Accept()
			switch {
			case err == nil:
				_ = conn.Close()
			case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
				return
			default: // such as too many open files
				time.Sleep(acceptPause) //nolint:forbidigo // nothing reports that files are free again
			}
		}
	}()
	return l
}

// Release stops refusing connections and returns the listener.
func (l *Listener) Release() *net.TCPListener {
	_ = l.listener.SetDeadline(time.Unix(1, 0)) // ends Accept
	<-l.refusing
	_ = l.listener.SetDeadline(time.Time{})
	return l.listener
}

// Addr returns the address of the port.
func (l *Listener) Addr() net.Addr { return l.listener.Addr() }

// Close closes the listener.
func (l *Listener) Close() error {
	err := l.listener.Close()
	<-l.refusing
	return err
}
