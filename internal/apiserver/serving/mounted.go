// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Mounted are the requests that a server of the host's passes on. A stop cannot close its
// connections, and cuts the requests instead.
type Mounted struct {
	mu   sync.Mutex
	open map[*mountedWriter]struct{}
	cut  bool
}

// MountOptions are for Mounted.Handler.
type MountOptions struct {
	Context  context.Context // ends all requests
	Handler  http.Handler
	Requests *lifecycle.Group // counts them
	// Adopt, if not nil, is called at the start of the goroutine of a request: others
	// that it starts are the control plane's, not the host's.
	Adopt func()
	// Propagate, if not nil, puts the trace in the context of the host's request into the
	// header that the handler gets: values of the context do not reach the handler.
	Propagate func(context.Context, http.Header)
	Logger    *zap.Logger
}

// Handler returns the handler for a server of the host's.
func (m *Mounted) Handler(o MountOptions) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		end, ok := begin(w, o.Requests)
		if !ok {
			return
		}
		defer end()
		ctx, cancel := context.WithCancelCause(ownValues(r.Context()))
		defer cancel(nil)
		defer context.AfterFunc(r.Context(), func() { cancel(context.Cause(r.Context())) })()
		defer context.AfterFunc(o.Context, func() { cancel(context.Cause(o.Context)) })()
		tracked, writer := m.begin(ctx, w, strippedPrefix(r))
		defer m.end(tracked)
		own := r.WithContext(ctx)
		own.Header = r.Header.Clone() // upstream removes credentials from it
		if o.Propagate != nil {
			o.Propagate(r.Context(), own.Header)
		}
		if o.call(writer, own) {
			panic(http.ErrAbortHandler) // closes the connection, and the host's server logs nothing
		}
	})
}

// ownValues returns a context that has net/http's values only. The API server keeps the
// user, the audit event and more in contexts. It must not find another control plane's,
// in whose server the host has mounted this one.
func ownValues(of context.Context) context.Context {
	ctx := context.Background()
	for _, key := range []any{http.ServerContextKey, http.LocalAddrContextKey} {
		if value := of.Value(key); value != nil {
			ctx = context.WithValue(ctx, key, value)
		}
	}
	return ctx
}

// call calls the handler in a goroutine of its own, and reports whether it panicked.
func (o MountOptions) call(w http.ResponseWriter, r *http.Request) bool {
	done := make(chan bool, 1)
	go func() {
		defer func() {
			panicked := recover()
			if err, ok := panicked.(error); panicked != nil && (!ok || !errors.Is(err, http.ErrAbortHandler)) {
				o.Logger.Error("a request panicked", zap.String("method", r.Method), zap.String("path", r.URL.Path),
					zap.Any("panic", panicked), zap.ByteString("stack", debug.Stack()))
			}
			done <- panicked != nil
		}()
		if o.Adopt != nil {
			o.Adopt()
		}
		o.Handler.ServeHTTP(w, r)
	}()
	return <-done
}

// Cut ends the reads and writes of the requests in flight, and of later ones, and closes
// connections that handlers have taken over.
func (m *Mounted) Cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = true
	for w := range m.open {
		w.cut()
	}
}

func (m *Mounted) begin(ctx context.Context, w http.ResponseWriter, prefix string) (*mountedWriter, http.ResponseWriter) {
	tracked := &mountedWriter{ResponseWriter: w, control: http.NewResponseController(w), ctx: ctx, prefix: prefix, of: m}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open == nil {
		m.open = map[*mountedWriter]struct{}{}
	}
	m.open[tracked] = struct{}{}
	if m.cut {
		tracked.cut()
	}
	return tracked, tracked.forUpstream()
}

func (m *Mounted) end(w *mountedWriter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.open, w)
}

// mountedWriter is the writer of a request. Middlewares of the host may have wrapped it.
type mountedWriter struct {
	http.ResponseWriter
	control  *http.ResponseController
	ctx      context.Context
	prefix   string // of the handler's path
	of       *Mounted
	hijacked net.Conn // under the lock of Mounted
}

func (w *mountedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// cut is called with the lock of Mounted, so that the request has not ended.
func (w *mountedWriter) cut() {
	if w.hijacked != nil {
		_ = w.hijacked.Close()
		return
	}
	past := time.Unix(1, 0)
	_ = w.control.SetReadDeadline(past)
	_ = w.control.SetWriteDeadline(past)
}

// forUpstream returns the writer with the methods that upstream expects of an HTTP
// server. It finds them below wrappers that only have Unwrap.
func (w *mountedWriter) forUpstream() http.ResponseWriter {
	if !find[http.Flusher](w.ResponseWriter) {
		return w // upstream refuses watches
	}
	if !find[http.Hijacker](w.ResponseWriter) { // HTTP/2
		return mountedFlusher{w}
	}
	return mountedHijacker{mountedFlusher{w}}
}

// find reports whether w or a writer in it is a T.
func find[T any](w http.ResponseWriter) bool {
	for {
		if _, ok := w.(T); ok {
			return true
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = wrapper.Unwrap()
	}
}

type mountedFlusher struct{ *mountedWriter }

func (w mountedFlusher) Flush() { _ = w.control.Flush() }

// CloseNotify implements http.CloseNotifier, which upstream expects.
func (w mountedFlusher) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	context.AfterFunc(w.ctx, func() { gone <- true })
	return gone
}

type mountedHijacker struct{ mountedFlusher }

func (w mountedHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := w.control.Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	w.hijacked = conn
	if w.of.cut {
		_ = conn.Close()
	}
	return conn, buffered, nil
}
