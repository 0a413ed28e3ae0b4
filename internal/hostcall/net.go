// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hostcall

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/nils"
)

// closeTimeout bounds the end of a listener.
const closeTimeout = 3 * time.Second

// Net contains listeners and connections of the host's: net/http and the servers call
// them in goroutines where a panic would end the process.
type Net struct {
	Field  string // of the configuration, for errors
	Logger *zap.Logger
}

// Conn returns a connection whose panics are errors with the name of the field.
func (n Net) Conn(c net.Conn) net.Conn {
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn, *conn:
		return c
	}
	return &conn{c, n}
}

// Dial returns a dialer whose panics, and nil connections, are errors.
func (n Net) Dial(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	if dial == nil {
		return nil
	}
	return func(ctx context.Context, network, address string) (c net.Conn, err error) {
		defer n.contain("the dialer", &err)
		if c, err = dial(ctx, network, address); err == nil && nils.Is(c) {
			return nil, fmt.Errorf("%s: the dialer returned neither a connection nor an error", n.Field)
		}
		return c, err
	}
}

// contain sets err if the caller panics.
func (n Net) contain(method string, err *error) {
	if panicked := recover(); panicked != nil {
		*err = n.panicked(method, panicked, debug.Stack())
	}
}

func (n Net) panicked(method string, value any, stack []byte) error {
	if n.Logger != nil {
		n.Logger.Error(method+" of the host's panicked", zap.String("field", n.Field), zap.Any("panic", value), zap.ByteString("stack", stack))
	}
	return fmt.Errorf("%s: %s panicked: %v", n.Field, method, value)
}

func (n Net) exited(method string, exit *Exit) error {
	if exit.Panic == nil {
		return fmt.Errorf("%s: %s ended its goroutine", n.Field, method)
	}
	return n.panicked(method, exit.Panic, exit.Stack)
}

type conn struct {
	net.Conn
	of Net
}

func (c *conn) Read(b []byte) (read int, err error) {
	defer c.of.contain("Read", &err)
	return c.Conn.Read(b)
}

func (c *conn) Write(b []byte) (written int, err error) {
	defer c.of.contain("Write", &err)
	return c.Conn.Write(b)
}

func (c *conn) Close() (err error) {
	defer c.of.contain("Close", &err)
	return c.Conn.Close()
}

func (c *conn) SetDeadline(t time.Time) (err error) {
	defer c.of.contain("SetDeadline", &err)
	return c.Conn.SetDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) (err error) {
	defer c.of.contain("SetReadDeadline", &err)
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) (err error) {
	defer c.of.contain("SetWriteDeadline", &err)
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) LocalAddr() net.Addr  { return Address(c.Conn.LocalAddr) }
func (c *conn) RemoteAddr() net.Addr { return Address(c.Conn.RemoteAddr) }

// Listener returns a listener whose panics are errors with the name of the field. Close
// returns after closeTimeout at the latest, with an error if the host's Close or Accept
// has not returned by then, and Accept returns too.
func (n Net) Listener(l net.Listener) net.Listener {
	switch l.(type) {
	case *net.TCPListener, *net.UnixListener, *listener:
		return l
	}
	return &listener{Listener: l, of: n, abandoned: make(chan struct{})}
}

type listener struct {
	net.Listener
	of Net

	mu        sync.Mutex
	closing   bool
	accepts   sync.WaitGroup // calls of the host's Accept; Add only before closing
	abandoned chan struct{}  // closed when Accept no longer waits for the host's
	closeOnce sync.Once
	closeErr  error
}

type accepted struct {
	conn net.Conn
	err  error
}

// Accept calls the host's in a goroutine of its own, which can end or stay.
func (l *listener) Accept() (net.Conn, error) {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return nil, net.ErrClosed
	}
	l.accepts.Add(1)
	l.mu.Unlock()
	results := make(chan accepted)
	Go(new(Calls), func() (result accepted) {
		result.conn, result.err = l.Listener.Accept()
		return result
	}, func(r Result[accepted]) {
		l.accepts.Done()
		result := r.Value
		switch {
		case r.Exit != nil:
			result = accepted{err: l.of.exited("Accept", r.Exit)}
		case result.err != nil:
			result.conn = nil
		case nils.Is(result.conn):
			result = accepted{err: fmt.Errorf("%s: Accept returned neither a connection nor an error", l.of.Field)}
		default:
			result.conn = l.of.Conn(result.conn)
		}
		select {
		case results <- result:
		case <-l.abandoned:
			if result.conn != nil {
				_ = result.conn.Close()
			}
		}
	})
	select {
	case result := <-results:
		return result.conn, result.err
	case <-l.abandoned:
		return nil, net.ErrClosed
	}
}

// Close closes the host's listener once.
func (l *listener) Close() error {
	l.closeOnce.Do(func() {
		l.mu.Lock()
		l.closing = true
		l.mu.Unlock()
		defer close(l.abandoned)
		l.closeErr = l.close()
	})
	return l.closeErr
}

func (l *listener) close() (err error) {
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	ended := make(chan Result[error], 1)
	Go(new(Calls), l.Listener.Close, func(r Result[error]) { ended <- r })
	select {
	case r := <-ended:
		if err = r.Value; r.Exit != nil {
			err = l.of.exited("Close", r.Exit)
		}
	case <-timer.C:
		return fmt.Errorf("%s: Close has not returned within %s", l.of.Field, closeTimeout)
	}
	returned := make(chan struct{})
	go func() { l.accepts.Wait(); close(returned) }()
	select {
	case <-returned:
		return err
	case <-timer.C:
		return errors.Join(err, fmt.Errorf("%s: Accept has not returned within %s after Close", l.of.Field, closeTimeout))
	}
}

func (l *listener) Addr() net.Addr { return Address(l.Listener.Addr) }

// Address returns the address that f, a method of the host's, returns, or one without a
// port: net/http calls the methods of addresses.
func Address(f func() net.Addr) (addr net.Addr) {
	defer func() {
		if recover() != nil || nils.Is(addr) {
			addr = &net.TCPAddr{}
		}
	}()
	return f()
}
