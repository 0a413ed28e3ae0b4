package inprocess

import (
	"fmt"
	"io"
	"net/http"
	"sync"
)

// requestBody is the client's request body as the handler reads it. The client
// gets its body back when the exchange ends, though a handler's goroutine may
// outlive its handler (the API server's timeout filter leaves them behind).
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
		return 0, ended // end interrupted the read: the source's error is of our making
	}
	b.read += int64(n)
	switch {
	case b.length > 0 && (b.read > b.length || err == io.EOF && b.read < b.length):
		// What a server cannot see, the client's transport checks.
		b.exchange.fail(fmt.Errorf("inprocess: ContentLength=%d with Body length %d", b.length, b.read))
		return 0, io.ErrUnexpectedEOF
	case err != nil && err != io.EOF:
		b.exchange.fail(err)
	}
	return n, err
}

// Close is the handler's.
func (b *requestBody) Close() error {
	b.end(http.ErrBodyReadAfterClose)
	return nil
}

// end closes the client's body, once, which also unblocks a Read: net/http asks
// that of request bodies too. Reads fail with err from then on.
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
