// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/testwait"
)

// noFlush is the writer of a middleware that hides that of the server.
type noFlush struct{ http.ResponseWriter }

// unwraps is one that does not.
type unwraps struct{ http.ResponseWriter }

func (u unwraps) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// TestMountedWriter: the handler finds the methods that upstream needs, if they are
// there.
func TestMountedWriter(t *testing.T) {
	for name, test := range map[string]struct {
		http2         bool
		wrap          func(http.ResponseWriter) http.ResponseWriter
		flush, hijack bool
	}{
		"HTTP/1.1":           {wrap: func(w http.ResponseWriter) http.ResponseWriter { return w }, flush: true, hijack: true},
		"HTTP/2":             {http2: true, wrap: func(w http.ResponseWriter) http.ResponseWriter { return w }, flush: true},
		"wrapped":            {wrap: func(w http.ResponseWriter) http.ResponseWriter { return unwraps{w} }, flush: true, hijack: true},
		"wrapped and hidden": {wrap: func(w http.ResponseWriter) http.ResponseWriter { return noFlush{w} }},
	} {
		t.Run(name, func(t *testing.T) {
			var m Mounted
			handler := m.Handler(MountOptions{Context: t.Context(), Requests: &lifecycle.Group{}, Logger: zap.NewNop(), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, flush := w.(http.Flusher)
				_, hijack := w.(http.Hijacker)
				_, notify := w.(http.CloseNotifier) //nolint:staticcheck // upstream uses it
				if flush != test.flush || notify != test.flush || hijack != test.hijack {
					t.Errorf("flush %t, notify %t, hijack %t", flush, notify, hijack)
				}
			})})
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(test.wrap(w), r) }))
			server.EnableHTTP2 = test.http2
			server.StartTLS()
			defer server.Close()
			response, err := server.Client().Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
		})
	}
}

// TestMountedIsCut: a stop ends requests that wait for their client, and then refuses
// them.
func TestMountedIsCut(t *testing.T) {
	var (
		m        Mounted
		requests lifecycle.Group
	)
	begun := make(chan struct{}, 3)
	ctx, cancel := context.WithCancel(t.Context())
	handler := m.Handler(MountOptions{Context: ctx, Requests: &requests, Logger: zap.NewNop(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		switch r.URL.Path {
		case "/context":
			<-r.Context().Done()
		case "/body":
			_, _ = io.Copy(io.Discard, r.Body)
		case "/hijack":
			conn, buffered, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.Copy(io.Discard, buffered)
		}
	})})
	server := httptest.NewServer(handler)
	defer server.Close()
	body, unsent := io.Pipe()
	defer func() { _ = unsent.Close() }()
	for path, body := range map[string]io.Reader{"/context": http.NoBody, "/body": body, "/hijack": http.NoBody} {
		go func() {
			request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, body)
			if response, err := server.Client().Do(request); err == nil {
				_ = response.Body.Close()
			}
		}()
	}
	for range 3 {
		<-begun
	}
	requests.Close()
	cancel()
	m.Cut()
	waitCtx, stop := context.WithTimeout(t.Context(), testwait.Timeout)
	defer stop()
	if err := requests.Wait(waitCtx); err != nil {
		t.Error(err)
	}
	response, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%s, want 503", response.Status)
	}
}

// TestMountedContext: of the context of the host's request, the handler has the end, the
// values of net/http and the trace.
func TestMountedContext(t *testing.T) {
	type key struct{}
	var m Mounted
	ended := make(chan struct{})
	handler := m.Handler(MountOptions{
		Context: t.Context(), Requests: &lifecycle.Group{}, Logger: zap.NewNop(),
		Propagate: func(ctx context.Context, header http.Header) { header.Set("Trace", ctx.Value(key{}).(string)) },
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			if got := r.Header.Get("Trace"); got != "of the host" {
				t.Errorf("trace %q", got)
			}
			if ctx.Value(key{}) != nil || ctx.Value(http.ServerContextKey) == nil || ctx.Value(http.LocalAddrContextKey) == nil {
				t.Errorf("got the values of %v", ctx)
			}
			close(ended)
			<-ctx.Done()
		}),
	})
	returned := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(returned)
		ctx, cancel := context.WithCancel(context.WithValue(r.Context(), key{}, "of the host"))
		go func() {
			<-ended
			cancel()
		}()
		handler.ServeHTTP(w, r.WithContext(ctx))
		if r.Header.Get("Trace") != "" {
			t.Error("the request of the host's has changed")
		}
	}))
	defer server.Close()
	response, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	<-returned
}

// TestMountedPanic: a panic ends the connection, and is logged once.
func TestMountedPanic(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	var m Mounted
	adopted := 0
	server := httptest.NewServer(m.Handler(MountOptions{
		Context: t.Context(), Requests: &lifecycle.Group{}, Logger: zap.New(core), Adopt: func() { adopted++ },
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("told to") }),
	}))
	defer server.Close()
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, http.NoBody)
	if response, err := server.Client().Do(request); err == nil {
		_ = response.Body.Close()
		t.Errorf("got %s, want a closed connection", response.Status)
	}
	if logs.Len() != 1 || adopted != 1 {
		t.Errorf("%d lines, %d goroutines adopted", logs.Len(), adopted)
	}
}

// TestCheckPattern: handlers of the host hide no path of the API server.
func TestCheckPattern(t *testing.T) {
	for pattern, want := range map[string]string{
		"/app": "", "/app/": "", "/app/v1/status": "", "/metrics/app": "", "/apiary": "", "/healthz2": "",
		"":                  "must be a path",
		"app":               "must be a path",
		"GET /app":          "must be a path",
		"example.com/app":   "must be a path",
		"/":                 "would hide the API",
		"//":                "plain path",
		"/app/../api":       "plain path",
		"/app//x":           "plain path",
		"/app/{name}":       "plain path",
		"/api":              "all paths from /api",
		"/apis/":            "all paths from /apis",
		"/apis/example.com": "all paths from /apis",
		"/healthz/mine":     "all paths from /healthz",
		"/index.html":       "/index.html of the API server",
		"/metrics":          "/metrics of the API server",
		"/metrics/":         "/metrics of the API server",
		"/metrics/slis":     "/metrics/slis of the API server",
	} {
		err := CheckPattern(pattern)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", pattern, err, want)
		}
	}
}
