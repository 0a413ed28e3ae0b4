// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package heldport_test

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/kubembed/kubembed/internal/etcd/heldport"
)

// TestHeldPort: connections to a held port end at once, and the listener that Release
// returns has the same port.
func TestHeldPort(t *testing.T) {
	held, err := heldport.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := held.Addr().String()
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	for range 2 {
		if _, err := dial().Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("held: got %v, want that the connection is closed", err)
		}
		listener := held.Release()
		conn := dial()
		served, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := served.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Errorf("released: %v", err)
		}
		_ = served.Close()
		held = heldport.Hold(listener)
	}
	if err := held.Close(); err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		_ = conn.Close()
		t.Error("closed: the port is still bound")
	}
}
