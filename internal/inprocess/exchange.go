// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inprocess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	wholeLimit = 256 << 10 // bytes of an unflushed response that is not streamed
	queueLimit = 1 << 20   // buffered bytes
	lendLimit  = 256 << 10 // a larger write that does not fit is lent to the reader, not copied
	wakeLimit  = 32 << 10  // buffered bytes that wake the reader of a stream without a flush
	firstSlab  = 4 << 10   // capacity of a new buffer
	poolLimit  = 3 << 20   // capacity beyond which a buffer is not reused
)

var (
	// It is also net.ErrClosed, which client-go expects: see errStoppedStream.
	errBodyClosed      = fmt.Errorf("inprocess: read on closed response body: %w", net.ErrClosed)
	errClientClosed    = errors.New("inprocess: the client closed the response body")
	errHandlerReturned = errors.New("inprocess: write after the handler returned")
)

// slabs holds the buffers of responses, as *[]byte. An idle stream holds none.
var slabs = sync.Pool{New: func() any {
	b := make([]byte, 0, firstSlab)
	return &b
}}

// exchange is one request and its response. The handler has it as a responseWriter, the
// client as a responseBody: two views with different methods, so that a type assertion on
// one side does not find the methods of the other.
type exchange struct {
	transport *Transport
	client    context.Context // the client's
	ctx       context.Context // the handler's
	cancel    context.CancelCauseFunc
	head      bool
	request   requestBody
	readable  chan struct{} // capacity 1: wakes the client
	writable  chan struct{} // capacity 1: wakes a blocked Write

	mu       sync.Mutex
	header   http.Header // the handler's; never the client's
	status   int         // 0 until WriteHeader
	declared int64       // Content-Length set by the handler, or -1
	written  int64
	sniff    bool // the handler has set no Content-Type
	response http.Response
	released bool  // the client may have the response
	done     bool  // the handler returned
	over     bool  // nothing follows the queue
	closed   bool  // the client has closed the body
	failure  error // ends the body instead of io.EOF; valid when over
	slab     *[]byte
	queue    []byte // in slab; queue[next:] is unread
	next     int
	lent     []byte // a handler's slice, read after queue
	blocked  bool   // a Write waits on writable

	unwatch       []func() bool // remove the AfterFuncs of contexts
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

// await returns the response when it has a header.
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

// begun reports whether the client can have the response. If the response is not
// complete, no goroutine waits for the contexts from here on, so begun registers
// callbacks.
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

// lost returns the error if there will be no response, and drops the response.
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
	// Only these values: the error of a nested call may wrap another transport's.
	//nolint:errorlint // see above
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

// interruption returns the error with which the exchange ended early, or nil.
func (e *exchange) interruption() error {
	if e.client.Err() != nil {
		return contextError(e.client)
	}
	if e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	return nil
}

// bodyless reports whether the response has no body, even if the handler writes one.
func (e *exchange) bodyless() bool { return e.head || !bodyAllowed(e.status) }

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// writeHeader fixes the header without sending it.
func (e *exchange) writeHeader(status int) {
	e.status = status
	h := copyHeader(e.header, func(key string) bool {
		return key != "Connection" && key != "Transfer-Encoding" && !strings.HasPrefix(key, http.TrailerPrefix)
	})
	_, set := e.header["Content-Type"] // an empty value means: no Content-Type
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

// release gives the response to the client; lent is a write that is about to follow the
// queue. Content-Type and Content-Length follow the rules of net/http's HTTP/2 server.
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

// detect sets the Content-Type by the body's first bytes if it is not set.
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
	// Not to gain a few bytes: each write would then move the rest.
	if e.next > 0 && e.next >= len(e.queue)/2 && len(e.queue)+len(p) > cap(e.queue) {
		e.queue = e.queue[:copy(e.queue, e.queue[e.next:])]
		e.next = 0
	}
	e.queue = append(e.queue, p...)
}

// recycle drops the queue and gives its memory to the next response. mu protects all
// access to the queue, so no reader still has it.
func (e *exchange) recycle() {
	if e.slab != nil && cap(e.queue) <= poolLimit {
		*e.slab = e.queue[:0]
		slabs.Put(e.slab)
	}
	e.slab, e.queue, e.next = nil, nil, 0
}

// close drops the response. The writer takes back a lent slice itself.
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
