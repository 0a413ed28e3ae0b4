// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inprocess

import "io"

// responseBody is the client's view of an exchange.
type responseBody exchange

func (b *responseBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	e := (*exchange)(b)
	for {
		if n, err := e.read(p); n > 0 || err != nil {
			return n, err
		}
		select {
		case <-e.readable:
		case <-e.client.Done():
		case <-e.ctx.Done():
		}
	}
}

// read returns 0, nil when the reader has to wait.
func (e *exchange) read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return 0, errBodyClosed
	}
	if !e.over {
		if err := e.interruption(); err != nil {
			return 0, err
		}
	}
	n := copy(p, e.queue[e.next:])
	if e.next += n; e.next == len(e.queue) {
		e.recycle()
		m := copy(p[n:], e.lent)
		e.lent = e.lent[m:]
		n += m
	}
	if e.blocked && len(e.lent) == 0 && len(e.queue)-e.next <= queueLimit/2 {
		wake(e.writable)
	}
	switch {
	case n > 0:
		return n, nil
	case e.over && e.failure != nil:
		return 0, e.failure
	case e.over || e.released && e.bodyless():
		return 0, io.EOF
	}
	return 0, nil
}

// Close cancels the handler's context if the handler is still running. It does not wait
// for the handler.
func (b *responseBody) Close() error {
	e := (*exchange)(b)
	e.mu.Lock()
	e.close()
	e.mu.Unlock()
	e.cancel(errClientClosed)
	return nil
}
