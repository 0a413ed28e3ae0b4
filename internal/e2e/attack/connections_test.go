// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"
)

// held keeps n connections open, replaces connections that the server closes, and
// closes all at the end.
func held(ctx context.Context, n int, s *stats, open func() (net.Conn, error), nudge func(net.Conn)) {
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	rounds(ctx, 200*time.Millisecond, func() {
		alive := conns[:0]
		for _, conn := range conns {
			if nudge != nil {
				nudge(conn)
			}
			if isOpen(conn) {
				alive = append(alive, conn)
			} else {
				_ = conn.Close()
			}
		}
		conns = alive
		// Open only a few at once, so that the listener's queue is not always full.
		for range min(50, n-len(conns)) {
			s.tries.Add(1)
			conn, err := open()
			if err != nil {
				return
			}
			s.answered.Add(1)
			conns = append(conns, conn)
		}
	})
	s.note(fmt.Sprintf("%d open at the end", len(conns)))
}

// isOpen reports whether a connection is open. It discards data from the server.
func isOpen(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(time.Microsecond))
	_, err := conn.Read(make([]byte, 1<<10))
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
}

// idleTCP opens more connections than the process has descriptors, and sends nothing.
func idleTCP(ctx context.Context, t *target, s *stats) {
	held(ctx, t.Descriptors+100, s, func() (net.Conn, error) { return dial(ctx, t.host()) }, nil)
}

// idleInsecure does the same on the insecure listener.
func idleInsecure(ctx context.Context, t *target, s *stats) {
	u, err := url.Parse(t.Insecure)
	if err != nil {
		panic(err)
	}
	held(ctx, t.Descriptors+100, s, func() (net.Conn, error) { return dial(ctx, u.Host) }, nil)
}

// idleTLS completes the handshake, and sends nothing.
func idleTLS(ctx context.Context, t *target, s *stats) {
	held(ctx, 300, s, func() (net.Conn, error) { return t.dialTLS(ctx, "h2") }, nil)
}

// halfHandshakes begins handshakes.
func halfHandshakes(ctx context.Context, t *target, s *stats) {
	held(ctx, 300, s, func() (net.Conn, error) {
		conn, err := dial(ctx, t.host())
		if err == nil {
			_, err = conn.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1}) // the start of a ClientHello of 508 bytes
		}
		return conn, err
	}, nil)
}

// idleAuthenticated makes one request with a join token on each connection.
func idleAuthenticated(ctx context.Context, t *target, s *stats) {
	token := t.token(joinIdle)
	held(ctx, 300, s, func() (net.Conn, error) {
		conn, err := t.dialTLS(ctx, "http/1.1")
		if err == nil {
			_, err = fmt.Fprintf(conn, "GET /version HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", token)
		}
		return conn, err
	}, nil)
}

// slowHeaders sends an endless header, one byte at a time.
func slowHeaders(ctx context.Context, t *target, s *stats) {
	held(ctx, 300, s, func() (net.Conn, error) {
		conn, err := t.dialTLS(ctx, "http/1.1")
		if err == nil {
			_, err = fmt.Fprint(conn, "GET /version HTTP/1.1\r\nHost: x\r\nX-A: ")
		}
		return conn, err
	}, func(conn net.Conn) {
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write([]byte("a"))
	})
}
