// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inprocess

import (
	"context"
	"net/http"
	"os"
	"strconv"
	"time"
)

// responseWriter is the handler's view of an exchange. It implements the interfaces of
// net/http's HTTP/2 writer, by which responsewriter.WrapForHTTP1Or2 of the API server
// detects the protocol (Flusher and CloseNotifier, no Hijacker), and the methods of
// http.ResponseController.
type responseWriter exchange

//nolint:staticcheck // SA1019: the API server refuses to stream without a CloseNotifier.
var _ http.CloseNotifier = (*responseWriter)(nil)
var _ http.Flusher = (*responseWriter)(nil)

func (w *responseWriter) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

// WriteHeader ignores informational codes and all calls but the first.
func (w *responseWriter) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic("inprocess: invalid WriteHeader code " + strconv.Itoa(status)) // as net/http
	}
	e := (*exchange)(w)
	e.mu.Lock()
	defer e.mu.Unlock()
	if status >= 200 && e.status == 0 && !e.done {
		e.writeHeader(status)
	}
}

func (w *responseWriter) Write(p []byte) (int, error) {
	e := (*exchange)(w)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.writeError(); err != nil {
		return 0, err
	}
	if e.status == 0 {
		e.writeHeader(http.StatusOK)
	}
	if !bodyAllowed(e.status) {
		return 0, http.ErrBodyNotAllowed
	}
	if e.declared >= 0 && e.written+int64(len(p)) > e.declared {
		return 0, http.ErrContentLength
	}
	e.written += int64(len(p))
	if len(p) == 0 {
		return 0, nil
	}
	if e.head {
		if !e.released {
			e.detect(p)
		}
		return len(p), nil
	}

	if len(e.queue)-e.next+len(p) > queueLimit {
		if len(p) > lendLimit {
			e.release(p)
			return e.lend(p)
		}
		e.release(nil)
		for len(e.queue)-e.next+len(p) > queueLimit {
			if err := e.block(); err != nil {
				return 0, err
			}
		}
	}
	e.enqueue(p)
	waiting := len(e.queue) - e.next
	if !e.released && waiting > wholeLimit {
		e.release(nil)
	} else if e.released && waiting > wakeLimit {
		wake(e.readable)
	}
	return len(p), nil
}

// lend lets the reader copy from p directly, and waits until it has done so.
func (e *exchange) lend(p []byte) (int, error) {
	e.lent = p
	for len(e.lent) > 0 {
		if err := e.block(); err != nil {
			n := len(p) - len(e.lent)
			e.lent = nil // the handler owns p again
			return n, err
		}
	}
	e.lent = nil
	return len(p), nil
}

// block waits, without the lock, until the reader has consumed data.
func (e *exchange) block() error {
	if e.writable == nil {
		e.writable = make(chan struct{}, 1)
	}
	e.blocked = true
	wake(e.readable)
	e.mu.Unlock()
	select {
	case <-e.writable:
	case <-e.ctx.Done():
	}
	e.mu.Lock()
	e.blocked = false
	return e.writeError()
}

// writeError returns the error of a write that cannot reach the client, or nil.
func (e *exchange) writeError() error {
	switch {
	case e.done:
		return errHandlerReturned
	case e.over:
		return e.failure
	case e.closed:
		return errClientClosed
	case e.ctx.Err() != nil:
		return context.Cause(e.ctx)
	}
	return nil
}

// Flush makes the written data visible to the client.
func (w *responseWriter) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *responseWriter) FlushError() error {
	e := (*exchange)(w)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.writeError(); err != nil {
		return err
	}
	if e.status == 0 {
		e.writeHeader(http.StatusOK)
	}
	if !e.released {
		e.release(nil)
	} else if len(e.queue) > e.next {
		wake(e.readable)
	}
	return nil
}

// CloseNotify implements http.CloseNotifier.
func (w *responseWriter) CloseNotify() <-chan bool {
	e := (*exchange)(w)
	c := make(chan bool, 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.done {
		e.unwatch = append(e.unwatch, context.AfterFunc(e.ctx, func() { c <- true }))
	}
	return c
}

// EnableFullDuplex does nothing: a handler may always read while it writes.
func (w *responseWriter) EnableFullDuplex() error { return nil }

// SetWriteDeadline ends the response at the deadline: the handler's context
// ends, writes fail with os.ErrDeadlineExceeded, and so does the client's read.
// Like that of net/http, a deadline cannot be extended once it has passed.
func (w *responseWriter) SetWriteDeadline(deadline time.Time) error {
	e := (*exchange)(w)
	e.setDeadline(&e.writeDeadline, deadline, func() { e.fail(os.ErrDeadlineExceeded) })
	return nil
}

// SetReadDeadline makes reads of the request's body fail with
// os.ErrDeadlineExceeded after the deadline.
func (w *responseWriter) SetReadDeadline(deadline time.Time) error {
	e := (*exchange)(w)
	e.setDeadline(&e.readDeadline, deadline, func() { e.request.end(os.ErrDeadlineExceeded) })
	return nil
}

func (e *exchange) setDeadline(timer **time.Timer, deadline time.Time, passed func()) {
	e.mu.Lock()
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	left := time.Until(deadline)
	if !deadline.IsZero() && left > 0 && !e.done {
		*timer = time.AfterFunc(left, passed)
	}
	e.mu.Unlock()
	if !deadline.IsZero() && left <= 0 {
		passed() // synchronously: the caller may rely on it
	}
}
