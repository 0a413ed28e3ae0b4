// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inprocess

import (
	"fmt"
	"io"
	"net/http"
	"sync"
)

// requestBody is the handler's view of the client's request body. The client owns its
// body again when the exchange ends, although a goroutine of the handler may outlive the
// handler (the API server's timeout filter leaves goroutines behind).
type requestBody struct {
	src      io.ReadCloser // nil: no body
	exchange *exchange
	length   int64 // declared; 0 or less: unknown
	read     int64

	mu    sync.Mutex
	ended error
}

func (b *requestBody) Read(p []byte) (int, error) {
	if err := b.err(); err != nil {
		return 0, err
	}
	n, err := b.src.Read(p)
	if ended := b.err(); ended != nil {
		return 0, ended // end interrupted the read and caused the source's error
	}
	b.read += int64(n)
	switch {
	case b.length > 0 && (b.read > b.length || err == io.EOF && b.read < b.length):
		// A server cannot detect this: the client's transport checks it.
		b.exchange.fail(fmt.Errorf("inprocess: ContentLength=%d with Body length %d", b.length, b.read))
		return 0, io.ErrUnexpectedEOF
	case err != nil && err != io.EOF:
		b.exchange.fail(err)
	}
	return n, err
}

// Close implements io.Closer for the handler.
func (b *requestBody) Close() error {
	b.end(http.ErrBodyReadAfterClose)
	return nil
}

// end closes the client's body, once, which also unblocks a Read, as net/http requires of
// request bodies. Reads fail with err from then on.
func (b *requestBody) end(err error) {
	b.mu.Lock()
	first := b.src != nil && b.ended == nil
	if first {
		b.ended = err
	}
	b.mu.Unlock()
	if first {
		_ = b.src.Close()
	}
}

func (b *requestBody) err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}
