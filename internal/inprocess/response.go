package inprocess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	wholeLimit = 256 << 10 // bytes, up to which an unflushed response is handed over whole
	queueLimit = 1 << 20   // bytes that may wait for the reader
	lendLimit  = 256 << 10 // a larger write that does not fit is lent to the reader, not copied
	wakeLimit  = 32 << 10  // bytes that wake the reader of a stream without a flush
	firstSlab  = 4 << 10   // capacity of a new buffer
	poolLimit  = 3 << 20   // a buffer that grew beyond is left to the collector
)

var (
	// Also net.ErrClosed, for the sake of client-go: see errStoppedStream.
	errBodyClosed      = fmt.Errorf("inprocess: read on closed response body: %w", net.ErrClosed)
	errClientClosed    = errors.New("inprocess: the client closed the response body")
	errHandlerReturned = errors.New("inprocess: write after the handler returned")
)

// slabs holds the *[]byte in which responses wait for their reader. An idle
// stream holds none.
var slabs = sync.Pool{New: func() any {
	b := make([]byte, 0, firstSlab)
	return &b
}}

// exchange is one request and its response. The handler holds it as a
// responseWriter, the client as a responseBody: two views with different
// methods, so that neither side finds the other's by a type assertion.
type exchange struct {
	transport *Transport
	client    context.Context // the client's
	ctx       context.Context // the handler's
	cancel    context.CancelCauseFunc
	head      bool
	request   requestBody
	readable  chan struct{} // capacity 1: the client should look again
	writable  chan struct{} // capacity 1: a blocked Write should look again

	mu       sync.Mutex
	header   http.Header // the handler's; never the client's
	status   int         // 0 until WriteHeader
	declared int64       // Content-Length set by the handler, or -1
	written  int64
	sniff    bool // the handler left the Content-Type to us
	response http.Response
	released bool  // the client may have the response
	done     bool  // the handler returned
	over     bool  // nothing comes after what is queued
	closed   bool  // the client wants no more
	failure  error // ends the body instead of io.EOF; valid when over
	slab     *[]byte
	queue    []byte // in slab; queue[next:] is unread
	next     int
	lent     []byte // a handler's slice, read after queue
	blocked  bool   // a Write waits on writable

	unwatch       []func() bool // stop what watches contexts
	readDeadline  *time.Timer
	writeDeadline *time.Timer
}

func newExchange(t *Transport, req *http.Request) *exchange {
	e := &exchange{
		transport: t,
		client:    req.Context(),
		head:      req.Method == http.MethodHead,
		readable:  make(chan struct{}, 1),
		declared:  -1,
	}
	e.ctx, e.cancel = context.WithCancelCause(t.base)
	e.response.Request = req
	if req.Body != nil && req.Body != http.NoBody {
		e.request = requestBody{src: req.Body, exchange: e, length: req.ContentLength}
	}
	return e
}

// await returns the response once its header is known.
func (e *exchange) await() (*http.Response, error) {
	for {
		select {
		case <-e.readable:
		case <-e.client.Done():
		case <-e.ctx.Done():
		}
		if e.begun() {
			return &e.response, nil
		}
		if err := e.lost(); err != nil {
			e.cancel(err)
			e.request.end(err)
			return nil, err
		}
	}
}

// begun tells whether the client can have the response. If more of it is to
// come, nobody waits for the contexts from here on: they have to call.
func (e *exchange) begun() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.released && !e.over {
		e.unwatch = append(e.unwatch, context.AfterFunc(e.client, func() { e.cancel(contextError(e.client)) }))
		if e.request.src != nil {
			e.unwatch = append(e.unwatch, context.AfterFunc(e.ctx, func() { e.request.end(context.Cause(e.ctx)) }))
		}
	}
	return e.released
}

// lost returns why there will be no response, or nil, and lets go of it.
func (e *exchange) lost() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.released {
		return nil // since begun looked
	}
	err := e.interruption()
	if e.over && e.client.Err() == nil {
		err = e.failure
	}
	// These very values: the error of a nested call may wrap another's.
	//nolint:errorlint
	switch err {
	case nil:
		return nil
	case io.ErrUnexpectedEOF:
		err = errHandlerAborted
	case errStoppedStream:
		err = ErrStopped
	}
	e.close()
	return err
}

// finish ends the response when the handler has returned.
func (e *exchange) finish(aborted bool) {
	e.mu.Lock()
	e.done = true
	if !e.over {
		e.over = true
		switch {
		case e.ctx.Err() != nil:
			e.failure = context.Cause(e.ctx)
		case aborted:
			e.failure = io.ErrUnexpectedEOF
		default:
			if e.status == 0 {
				e.writeHeader(http.StatusOK)
			}
			if e.written < e.declared && !e.bodyless() {
				e.failure = io.ErrUnexpectedEOF
			}
			e.release(nil)
		}
	}
	for _, stop := range e.unwatch {
		stop()
	}
	for _, timer := range []*time.Timer{e.readDeadline, e.writeDeadline} {
		if timer != nil {
			timer.Stop()
		}
	}
	e.mu.Unlock()
	wake(e.readable)
	e.cancel(nil)
	e.request.end(http.ErrBodyReadAfterClose)
}

// fail ends the response before the handler returns.
func (e *exchange) fail(err error) {
	e.mu.Lock()
	if e.over {
		e.mu.Unlock()
		return
	}
	e.over, e.failure = true, err
	e.mu.Unlock()
	wake(e.readable)
	e.cancel(err)
}

// interruption returns why the exchange ended early, or nil.
func (e *exchange) interruption() error {
	if e.client.Err() != nil {
		return contextError(e.client)
	}
	if e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	return nil
}

// bodyless tells whether the response has no body, whatever the handler writes.
func (e *exchange) bodyless() bool { return e.head || !bodyAllowed(e.status) }

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// writeHeader fixes the header, as of now, without sending it.
func (e *exchange) writeHeader(status int) {
	e.status = status
	h := copyHeader(e.header, func(key string) bool {
		return key != "Connection" && key != "Transfer-Encoding" && !strings.HasPrefix(key, http.TrailerPrefix)
	})
	_, set := e.header["Content-Type"] // present and empty: it wants none
	e.sniff = !set && h["Content-Type"] == nil && h.Get("Content-Encoding") == ""
	if v := h["Content-Length"]; v != nil {
		if n, err := strconv.ParseUint(v[0], 10, 63); err == nil {
			e.declared = int64(n)
		} else {
			delete(h, "Content-Length")
		}
	}
	e.response.Header = h
}

// release hands the response to the client; lent is a write that is about to
// follow what is queued. The rules on Content-Type and Content-Length are
// those of net/http's HTTP/2 server.
func (e *exchange) release(lent []byte) {
	if e.released {
		return
	}
	e.released = true
	r := &e.response
	h := r.Header
	sample := e.queue
	if len(sample) == 0 {
		sample = lent
	}
	e.detect(sample)
	r.ContentLength = e.declared
	if e.declared < 0 && e.over {
		if bodyAllowed(e.status) && (e.written > 0 || !e.head) {
			r.ContentLength = e.written
			h["Content-Length"] = []string{strconv.FormatInt(e.written, 10)}
		} else if !e.head {
			r.ContentLength = 0
		}
	}
	r.StatusCode = e.status
	if r.Status = "200 OK"; e.status != http.StatusOK {
		r.Status = strconv.Itoa(e.status) + " " + http.StatusText(e.status)
	}
	r.Proto, r.ProtoMajor = "HTTP/2.0", 2
	r.Body = (*responseBody)(e)
	if e.over && e.failure == nil && (e.bodyless() || len(e.queue) == 0) {
		r.Body = http.NoBody
		e.recycle()
	}
	wake(e.readable)
}

// detect sets the Content-Type after the body's first bytes if nobody else has.
func (e *exchange) detect(sample []byte) {
	if e.sniff && len(sample) > 0 {
		e.sniff = false
		e.response.Header["Content-Type"] = []string{http.DetectContentType(sample)}
	}
}

func (e *exchange) enqueue(p []byte) {
	if e.slab == nil {
		e.slab = slabs.Get().(*[]byte)
		e.queue = (*e.slab)[:0]
	}
	// Not for a few bytes of room: that would move the rest for every write.
	if e.next > 0 && e.next >= len(e.queue)/2 && len(e.queue)+len(p) > cap(e.queue) {
		e.queue = e.queue[:copy(e.queue, e.queue[e.next:])]
		e.next = 0
	}
	e.queue = append(e.queue, p...)
}

// recycle drops the queue and gives its memory to the next response. All access
// to the queue is under mu, so no reader is left with it.
func (e *exchange) recycle() {
	if e.slab != nil && cap(e.queue) <= poolLimit {
		*e.slab = e.queue[:0]
		slabs.Put(e.slab)
	}
	e.slab, e.queue, e.next = nil, nil, 0
}

// close drops the response. A lent slice is its writer's to take back.
func (e *exchange) close() {
	e.closed = true
	e.recycle()
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

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

// Close cancels the handler's context if the handler still runs. It does not
// wait for the handler.
func (b *responseBody) Close() error {
	e := (*exchange)(b)
	e.mu.Lock()
	e.close()
	e.mu.Unlock()
	e.cancel(errClientClosed)
	return nil
}

// responseWriter is the handler's view of an exchange. It has the interfaces of
// net/http's HTTP/2 writer, by which responsewriter.WrapForHTTP1Or2 of the API
// server chooses (Flusher and CloseNotifier, no Hijacker), and the methods
// that http.ResponseController looks for.
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

// lend lets the reader copy from p itself and waits until it has.
func (e *exchange) lend(p []byte) (int, error) {
	e.lent = p
	for len(e.lent) > 0 {
		if err := e.block(); err != nil {
			n := len(p) - len(e.lent)
			e.lent = nil // p is the handler's again
			return n, err
		}
	}
	e.lent = nil
	return len(p), nil
}

// block waits, without the lock, until the reader made room.
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

// writeError returns why a write cannot reach the client, or nil.
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

// Flush makes what is written visible to the client.
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
		passed() // at once, not in a goroutine: the caller may count on it
	}
}
