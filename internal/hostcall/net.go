// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hostcall

import (
	"fmt"
	"net"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/nils"
)

// Net contains connections of the host's: net/http and the servers call them in
// goroutines where a panic would end the process.
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
