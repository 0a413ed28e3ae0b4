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
	"net/url"
	"runtime/debug"
	"strings"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

var (
	// ErrStopped is the error of requests that begin after Shutdown or are in flight when
	// it is called. To errors.Is it is also http.ErrServerClosed and net.ErrClosed.
	ErrStopped error = &stoppedError{"inprocess: the control plane is stopped"}

	// ErrUpgrade is the error of requests for another protocol.
	ErrUpgrade = errors.New("inprocess: a connection cannot be upgraded in memory (exec, attach and port-forward need one): " +
		"use the control plane's kubeconfig, which connects over TLS")

	// errStoppedStream ends response bodies. Its text contains that of net.ErrClosed, by
	// which client-go (IsProbableEOF) detects that a watch ended with its connection, and
	// reconnects without an error event. ErrStopped must not contain it: client-go would
	// retry a refused GET ten times, once a second.
	errStoppedStream error = &stoppedError{ErrStopped.Error() + ": " + net.ErrClosed.Error()}

	errHandlerAborted = fmt.Errorf("inprocess: the handler aborted the response: %w", io.ErrUnexpectedEOF)
)

type stoppedError struct{ text string }

func (e *stoppedError) Error() string { return e.text }

func (e *stoppedError) Is(target error) bool {
	return target == http.ErrServerClosed || target == net.ErrClosed || target == ErrStopped
}

// Transport is an http.RoundTripper that calls a handler of this process. It
// is safe for concurrent use. See the package documentation for its semantics.
type Transport struct {
	// OnPanic is called for a panic in the handler, with the handler's request and the
	// stack, except for http.ErrAbortHandler. If nil, panics are not reported. The client
	// gets an aborted response in both cases. It must be set before the first request.
	OnPanic func(req *http.Request, panicValue any, stack []byte)

	// Requests counts the handlers that run. NewTransport sets a count of the Transport's
	// own; a server that also has listeners can set one count for both, which Shutdown
	// closes and waits for. It must be set before the first request.
	Requests *lifecycle.Group

	// Adopt, if not nil, is called at the start of each goroutine that runs the handler.
	// The goroutine otherwise has the profiler labels of the client, but goroutines that
	// a handler leaves running belong to the server. It must be set before the first
	// request.
	Adopt func()

	// Propagate, if not nil, is called with the context of each request and the header
	// that the handler gets: values of the context do not reach the handler. It must be
	// set before the first request.
	Propagate func(context.Context, http.Header)

	handler http.Handler
	base    context.Context
	stop    context.CancelCauseFunc
}

var _ http.RoundTripper = (*Transport)(nil)

// NewTransport returns a Transport that calls h.
func NewTransport(h http.Handler) *Transport {
	t := &Transport{handler: h, Requests: &lifecycle.Group{}}
	t.base, t.stop = context.WithCancelCause(context.WithValue(context.Background(), marker{}, true))
	return t
}

// marker is the key of a value that the contexts of a Transport's requests have.
type marker struct{}

// Is reports whether ctx is the context of a request that came through a Transport.
func Is(ctx context.Context) bool { return ctx.Value(marker{}) != nil }

// RoundTrip calls the handler in its own goroutine and returns when the response has a
// header. It returns the error of the request's context as soon as that context ends,
// even if the handler does not return. It closes the request's body when the handler
// returns or the request is canceled, whichever is first.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	server, err := serverRequest(req)
	if err == nil && req.Context().Err() != nil {
		err = contextError(req.Context())
	}
	var end func()
	if err == nil {
		var ok bool
		if end, ok = t.Requests.Begin(); !ok {
			err = ErrStopped
		}
	}
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}

	if t.Propagate != nil {
		t.Propagate(req.Context(), server.Header)
	}
	e := newExchange(t, req)
	if e.request.src != nil {
		server.Body = &e.request
	}
	go func() {
		defer end()
		if t.Adopt != nil {
			t.Adopt()
		}
		e.serve(server.WithContext(e.ctx))
	}()
	return e.await()
}

// CloseIdleConnections does nothing: there are no connections. client-go calls it.
func (t *Transport) CloseIdleConnections() {}

// Shutdown refuses new requests, cancels the contexts of requests in flight, whose
// clients get ErrStopped, and waits until all handlers have returned or ctx ends. It does
// not drain: the caller can wait for handlers before. It may be called again, also after
// a timeout. A handler of this Transport may only call it with a ctx that ends.
func (t *Transport) Shutdown(ctx context.Context) error {
	t.Requests.Close()
	t.stop(errStoppedStream)
	if err := t.Requests.Wait(ctx); err != nil {
		return fmt.Errorf("inprocess: handlers: %w", err)
	}
	return nil
}

// serve runs the handler.
func (e *exchange) serve(req *http.Request) {
	returned := false
	defer func() {
		if returned {
			e.finish(false)
			return
		}
		// A panic, or runtime.Goexit, for which recover returns nil.
		v := recover()
		e.finish(true)
		if v != nil && !isAbort(v) && e.transport.OnPanic != nil {
			e.transport.OnPanic(req, v, debug.Stack())
		}
	}()
	e.transport.handler.ServeHTTP((*responseWriter)(e), req)
	returned = true
}

// serverRequest returns the request that a server would parse from the client's, without
// a context and with an empty body.
func serverRequest(req *http.Request) (http.Request, error) {
	if req.URL == nil {
		return http.Request{}, errors.New("inprocess: the request has no URL")
	}
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	if method == http.MethodConnect || hasToken(req.Header["Connection"], "upgrade") {
		return http.Request{}, ErrUpgrade
	}
	uri := req.URL.RequestURI()
	if !strings.HasPrefix(uri, "/") && uri != "*" {
		return http.Request{}, fmt.Errorf("inprocess: the URL's path must begin with a slash: %q", uri)
	}
	// A server parses the URI: no scheme, host, user or fragment.
	u := &url.URL{Path: req.URL.Path, RawQuery: req.URL.RawQuery, ForceQuery: req.URL.ForceQuery}
	if u.Path == "" {
		u.Path = "/"
	}
	if req.URL.RawPath != "" || req.URL.Opaque != "" {
		var err error
		if u, err = url.ParseRequestURI(uri); err != nil {
			return http.Request{}, fmt.Errorf("inprocess: %w", err)
		}
	}
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	length := req.ContentLength
	switch {
	case req.Body == nil || req.Body == http.NoBody:
		length = 0
	case length == 0: // "unknown" in a client's request
		length = -1
	}
	return http.Request{
		Method:        method,
		URL:           u,
		Proto:         "HTTP/2.0",
		ProtoMajor:    2,
		Header:        requestHeader(req.Header),
		Body:          http.NoBody,
		ContentLength: length,
		Host:          host,
		RemoteAddr:    "127.0.0.1:0",
		RequestURI:    uri,
	}, nil
}

func requestHeader(h http.Header) http.Header {
	return copyHeader(h, func(key string) bool {
		switch key {
		case "Connection", "Content-Length", "Host", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade":
			return false
		}
		return true
	})
}

// copyHeader copies the fields that keep accepts, with canonical names.
func copyHeader(h http.Header, keep func(canonical string) bool) http.Header {
	n := 0
	for _, v := range h {
		n += len(v)
	}
	values := make([]string, n) // shared, as in http.Header.Clone
	out := make(http.Header, len(h)+1)
	for k, v := range h {
		k = http.CanonicalHeaderKey(k)
		if len(v) == 0 || !keep(k) {
			continue
		}
		if have, twice := out[k]; twice {
			out[k] = append(have, v...)
			continue
		}
		n := copy(values, v)
		out[k] = values[:n:n]
		values = values[n:]
	}
	return out
}

func hasToken(values []string, token string) bool {
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// contextError returns the cause of a context's end, which is always also
// context.Canceled or context.DeadlineExceeded to errors.Is.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// isAbort reports whether a handler panicked to abort its response.
func isAbort(panicked any) bool {
	err, ok := panicked.(error)
	return ok && errors.Is(err, http.ErrAbortHandler)
}
