// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inprocess

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apiserver/pkg/endpoints/responsewriter"
)

func TestFlushMakesEventsVisible(t *testing.T) {
	next := make(chan struct{})
	tr := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		for i := 0; ; i++ {
			select {
			case _, more := <-next:
				if !more {
					return
				}
			case <-r.Context().Done():
				return
			}
			_, _ = fmt.Fprintf(w, "event %d\n", i)
			w.(http.Flusher).Flush()
		}
	})
	resp := get(t, tr) // returns before the first event is written
	if resp.ContentLength != -1 {
		t.Errorf("ContentLength = %d", resp.ContentLength)
	}
	buf := make([]byte, 100)
	for i := range 5 {
		next <- struct{}{}
		n, err := resp.Body.Read(buf) // before event i+1 can be written
		if got, want := string(buf[:n]), fmt.Sprintf("event %d\n", i); got != want || err != nil {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
	}
	close(next)
	if n, err := resp.Body.Read(buf); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

func TestClientCancelBeforeHeader(t *testing.T) {
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		ctx  func(*testing.T) (context.Context, func())
		want []error
	}{
		"cancel": {func(t *testing.T) (context.Context, func()) { return context.WithCancel(t.Context()) }, []error{context.Canceled}},
		"cause": {func(t *testing.T) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(t.Context())
			return ctx, func() { cancel(boom) }
		}, []error{context.Canceled, boom}},
		"deadline": {func(t *testing.T) (context.Context, func()) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			t.Cleanup(cancel)
			return ctx, func() {}
		}, []error{context.DeadlineExceeded}},
	} {
		// In a bubble, the deadline passes when everybody waits, not before.
		inBubble := func(t *testing.T) {
			release, entered := make(chan struct{}), make(chan struct{})
			cancelled := make(chan struct{})
			tr := start(t, func(w http.ResponseWriter, r *http.Request) {
				close(entered)
				<-r.Context().Done()
				close(cancelled)
				<-release // the handler does not return for RoundTrip
				if _, err := w.Write([]byte("late")); err == nil {
					t.Error("a write after the cancel succeeded")
				}
			})
			ctx, cancel := tc.ctx(t)
			go func() { <-entered; cancel() }()
			body := &trackedBody{Reader: strings.NewReader("x"), closed: make(chan struct{})}
			req := request(ctx, t, "POST", "x")
			req.Body = body
			_, err := tr.RoundTrip(req)
			for _, want := range tc.want {
				if !errors.Is(err, want) {
					t.Errorf("RoundTrip: %v, want %v", err, want)
				}
			}
			receive(body.closed) // though the handler runs
			receive(cancelled)
			close(release)
		}
		t.Run(name, func(t *testing.T) { synctest.Test(t, inBubble) })
	}
}

type trackedBody struct {
	io.Reader
	once   sync.Once
	closed chan struct{}
}

func (b *trackedBody) Close() error { b.once.Do(func() { close(b.closed) }); return nil }

func TestClientCancelWhileStreaming(t *testing.T) {
	done := make(chan error, 1)
	tr := start(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		_, err := io.WriteString(w, "second")
		done <- err
	})
	ctx, cancel := context.WithCancel(t.Context())
	resp, err := tr.RoundTrip(request(ctx, t, "GET", ""))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := resp.Body.Read(buf); string(buf[:n]) != "first" || err != nil {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	blocked := make(chan error, 1)
	go func() { _, err := resp.Body.Read(buf); blocked <- err }()
	cancel()
	if err := receive(blocked); !errors.Is(err, context.Canceled) {
		t.Errorf("blocked read: %v", err)
	}
	if err := receive(done); !errors.Is(err, context.Canceled) {
		t.Errorf("handler's write: %v", err)
	}
	if _, err := resp.Body.Read(buf); !errors.Is(err, context.Canceled) {
		t.Errorf("read after cancel: %v", err)
	}
}

// A response that is complete is no longer the context's business: HTTP/2 does
// the same, and client-go cancels contexts as soon as it has its result.
func TestCompleteResponseOutlivesContext(t *testing.T) {
	tr := start(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	ctx, cancel := context.WithCancel(t.Context())
	resp, err := tr.RoundTrip(request(ctx, t, "GET", ""))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if b, err := io.ReadAll(resp.Body); string(b) != "hello" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestBodyCloseCancelsHandler(t *testing.T) {
	done := make(chan error, 1)
	tr := start(t, func(w http.ResponseWriter, r *http.Request) {
		//nolint:staticcheck // SA1019: what the API server's wrappers offer.
		gone := w.(http.CloseNotifier).CloseNotify()
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		<-gone
		_, err := w.Write([]byte("late"))
		done <- err
	})
	resp := get(t, tr)
	reading := make(chan error, 1)
	go func() { _, err := resp.Body.Read(make([]byte, 1)); reading <- err }()
	_ = resp.Body.Close()
	if err := receive(done); err == nil {
		t.Error("a write after Close succeeded")
	}
	if err := receive(reading); err == nil || err == io.EOF {
		t.Errorf("read over Close: %v", err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestBackpressure(t *testing.T) {
	for name, size := range map[string]int{"small writes": 1000, "lent writes": lendLimit + 1, "huge write": 4 * queueLimit} {
		t.Run(name, func(t *testing.T) {
			chunk := large[:size]
			var accepted int
			ended := make(chan error, 1)
			progress := make(chan int, 1<<14)
			tr := start(t, func(w http.ResponseWriter, _ *http.Request) {
				for {
					n, err := w.Write(chunk)
					accepted += n
					if err != nil {
						ended <- err
						return
					}
					progress <- n
				}
			})
			resp := get(t, tr) // streams: there is no reader yet
			// With a manual reader the accepted data stays within the bound.
			read, buf := 0, make([]byte, 64<<10)
			total := 0
			for read < 5*queueLimit {
				for drained := false; !drained; {
					select {
					case n := <-progress:
						total += n
					default:
						drained = true
					}
				}
				if total-read > queueLimit {
					t.Fatalf("%d bytes wait for the reader", total-read)
				}
				n, err := resp.Body.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				for i, b := range buf[:n] {
					if b != chunk[(read+i)%size] {
						t.Fatalf("byte %d is wrong", read+i)
					}
				}
				read += n
			}
			_ = resp.Body.Close()
			if err := receive(ended); !errors.Is(err, errClientClosed) {
				t.Errorf("blocked write: %v", err)
			}
			if accepted > read+queueLimit+size {
				t.Errorf("accepted %d, read %d", accepted, read)
			}
		})
	}
}

func TestUpload(t *testing.T) {
	sum := make(chan [32]byte, 1)
	tr := start(t, func(_ http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		_, _ = io.Copy(h, r.Body)
		sum <- [32]byte(h.Sum(nil))
	})
	req := request(t.Context(), t, "POST", "x")
	body := &trackedBody{Reader: bytes.NewReader(large), closed: make(chan struct{})}
	req.Body, req.ContentLength = body, int64(len(large))
	if _, err := tr.RoundTrip(req); err != nil {
		t.Fatal(err)
	}
	if receive(sum) != sha256.Sum256(large) {
		t.Error("the body is damaged")
	}
	receive(body.closed)
}

func TestFullDuplex(t *testing.T) {
	tr := start(t, func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		w.(http.Flusher).Flush()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(bytes.ToUpper(buf[:n]))
			w.(http.Flusher).Flush()
			if err != nil {
				return
			}
		}
	})
	in, out := io.Pipe()
	req := request(t.Context(), t, "POST", "x")
	req.Body, req.ContentLength = in, -1
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"ping", "pong"} {
		_, _ = io.WriteString(out, word)
		got := make([]byte, len(word))
		if _, err := io.ReadFull(resp.Body, got); string(got) != strings.ToUpper(word) {
			t.Fatalf("%q, %v", got, err)
		}
	}
	_ = resp.Body.Close() // the handler waits in r.Body.Read: this must end it
	if err := tr.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestRequestBodyErrors(t *testing.T) {
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		body   io.Reader
		length int64
		want   string
	}{
		"fails":     {io.MultiReader(strings.NewReader("abc"), &failing{boom}), -1, "boom"},
		"too short": {strings.NewReader("abc"), 4, "ContentLength=4 with Body length 3"},
		"too long":  {strings.NewReader("abc"), 2, "ContentLength=2 with Body length 3"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := start(t, func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.ReadAll(r.Body); err == nil {
					t.Error("the handler read a damaged body")
				}
				_, _ = io.WriteString(w, "stored") // must not reach the client
			})
			req := request(t.Context(), t, "POST", "x")
			body := &trackedBody{Reader: tc.body, closed: make(chan struct{})}
			req.Body, req.ContentLength = body, tc.length
			if _, err := tr.RoundTrip(req); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("RoundTrip: %v", err)
			}
			receive(body.closed)
		})
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestPanics(t *testing.T) {
	type report struct {
		value any
		stack string
		path  string
	}
	reports := make(chan report, 1)
	var do func(http.ResponseWriter)
	tr := NewTransport(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { do(w) }))
	tr.OnPanic = func(r *http.Request, v any, stack []byte) { reports <- report{v, string(stack), r.URL.Path} }
	defer func() { _ = tr.Shutdown(context.Background()) }()

	do = func(w http.ResponseWriter) { _, _ = w.Write([]byte("half")); panic("boom") }
	_, err := tr.RoundTrip(request(t.Context(), t, "GET", ""))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("panic: %v", err)
	}
	if r := receive(reports); r.value != "boom" || r.path != "/path" || !strings.Contains(r.stack, "TestPanics") {
		t.Errorf("report %+v", r)
	}

	do = func(w http.ResponseWriter) {
		_, _ = w.Write([]byte("half"))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	resp := get(t, tr)
	if b, err := io.ReadAll(resp.Body); string(b) != "half" || err != io.ErrUnexpectedEOF {
		t.Errorf("abort: %q, %v", b, err)
	}
	select {
	case r := <-reports:
		t.Errorf("http.ErrAbortHandler was reported: %+v", r)
	default:
	}
}

func TestShutdown(t *testing.T) {
	const streams = 20
	tr := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			_, _ = w.Write([]byte("x"))
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	})
	var bodies []io.ReadCloser
	var plain []chan error
	for range streams {
		req := request(t.Context(), t, "GET", "")
		req.URL.Path = "/stream"
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, resp.Body)
		c := make(chan error, 1)
		plain = append(plain, c)
		go func() { _, err := tr.RoundTrip(request(context.Background(), t, "GET", "")); c <- err }()
	}
	if err := tr.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, b := range bodies {
		_, err := io.ReadAll(b)
		if !errors.Is(err, ErrStopped) || !errors.Is(err, net.ErrClosed) || !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("stream: %v", err)
		}
	}
	for _, c := range plain {
		if err := receive(c); err != ErrStopped {
			t.Errorf("request in flight: %v", err)
		}
	}
	body := &trackedBody{Reader: strings.NewReader("x"), closed: make(chan struct{})}
	req := request(t.Context(), t, "POST", "x")
	req.Body = body
	if _, err := tr.RoundTrip(req); err != ErrStopped {
		t.Errorf("request after Shutdown: %v", err)
	}
	receive(body.closed)
	if err := tr.Shutdown(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestShutdownWaitsForHandlers(t *testing.T) {
	hold, entered := make(chan struct{}), make(chan struct{})
	returned := false
	tr := start(t, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-hold
		returned = true
	})
	inflight := make(chan error, 1)
	go func() {
		_, err := tr.RoundTrip(request(context.Background(), t, "GET", ""))
		inflight <- err
	}()
	receive(entered)
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tr.Shutdown(impatient); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "1 still running") {
		t.Errorf("impatient Shutdown: %v", err)
	}
	if err := receive(inflight); err != ErrStopped { // though its handler is stuck
		t.Errorf("request in flight: %v", err)
	}
	close(hold)
	if err := tr.Shutdown(context.Background()); err != nil || !returned {
		t.Errorf("Close: %v, handler returned: %v", err, returned)
	}
}

func TestShutdownEndsStuckUpload(t *testing.T) {
	tr := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = io.ReadAll(r.Body)
	})
	in, _ := io.Pipe() // without a writer
	req := request(t.Context(), t, "POST", "x")
	req.Body, req.ContentLength = in, -1
	if _, err := tr.RoundTrip(req); err != nil {
		t.Fatal(err)
	}
	if err := tr.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

type contextKey struct{}

func TestNestedCallsAndContextIsolation(t *testing.T) {
	var tr *Transport
	ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), contextKey{}, "user"), time.Hour)
	defer cancel()
	nested := make(chan error, 4) // of each handler but the innermost
	tr = start(t, func(w http.ResponseWriter, r *http.Request) {
		if v := r.Context().Value(contextKey{}); v != nil {
			t.Errorf("%s sees the client's %v", r.URL, v)
		}
		if _, ok := r.Context().Deadline(); ok {
			t.Errorf("%s sees the client's deadline", r.URL)
		}
		depth := len(r.URL.Path)
		if depth == 5 {
			cancel()
			<-r.Context().Done() // ends with the outermost client's context
			return
		}
		ctx := context.WithValue(r.Context(), contextKey{}, depth)
		req := request(ctx, t, "GET", "")
		req.URL.Path = r.URL.Path + "x"
		_, err := tr.RoundTrip(req)
		nested <- err
	})
	req := request(ctx, t, "GET", "")
	req.URL.Path = "/"
	if _, err := tr.RoundTrip(req); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// Before the transport is stopped, which would end them as well.
	for range cap(nested) {
		if err := <-nested; !errors.Is(err, context.Canceled) {
			t.Errorf("a nested call: %v", err)
		}
	}
	_ = tr.Shutdown(context.Background())
}

func TestNestedCallsSucceed(t *testing.T) {
	var tr *Transport
	tr = start(t, func(w http.ResponseWriter, r *http.Request) {
		if len(r.URL.Path) < 10 {
			req := request(r.Context(), t, "GET", "")
			req.URL.Path = r.URL.Path + "x"
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = resp.Body.Close() }()
			_, _ = io.Copy(w, resp.Body)
		}
		_, _ = io.WriteString(w, r.URL.Path+"\n")
	})
	b, err := io.ReadAll(get(t, tr).Body)
	if want := "/pathxxxxx\n/pathxxxx\n/pathxxx\n/pathxx\n/pathx\n/path\n"; string(b) != want || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestHeaderIsolation(t *testing.T) {
	var kept http.Header
	tr := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer x" {
			t.Error("no token")
		}
		r.Header.Del("Authorization")
		r.Header["Accept"][0] = "changed"
		r.URL.Path = "/changed"
		kept = w.Header()
		kept.Set("X-A", "1")
	})
	req := request(t.Context(), t, "GET", "")
	req.Header.Set("Authorization", "Bearer x")
	req.Header.Set("Accept", "application/json")
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	kept.Set("X-A", "2")
	resp.Header.Set("X-B", "2")
	if req.Header.Get("Authorization") != "Bearer x" || req.Header.Get("Accept") != "application/json" || req.URL.Path != "/path" {
		t.Errorf("the handler changed the client's request: %v", req)
	}
	if resp.Header.Get("X-A") != "1" || kept.Get("X-B") != "" {
		t.Error("client and handler share the response header")
	}
}

func TestWriteDeadline(t *testing.T) {
	for name, flush := range map[string]bool{"before the header": false, "while streaming": true} {
		t.Run(name, func(t *testing.T) {
			wrote := make(chan error, 1)
			tr := start(t, func(w http.ResponseWriter, r *http.Request) {
				if flush {
					_, _ = w.Write([]byte("x"))
					w.(http.Flusher).Flush()
				}
				rc := http.NewResponseController(w)
				if err := errors.Join(rc.SetWriteDeadline(time.Now().Add(time.Hour)), rc.SetWriteDeadline(time.Time{}),
					rc.SetWriteDeadline(time.Now().Add(time.Millisecond))); err != nil {
					t.Error(err)
				}
				<-r.Context().Done()
				_, err := w.Write([]byte("late"))
				wrote <- err
			})
			resp, err := tr.RoundTrip(request(t.Context(), t, "GET", ""))
			if flush {
				if err != nil {
					t.Fatal(err)
				}
				var b []byte
				if b, err = io.ReadAll(resp.Body); string(b) != "x" {
					t.Errorf("%q", b)
				}
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("client: %v", err)
			}
			if err := receive(wrote); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("handler: %v", err)
			}
		})
	}
}

func TestWriteDeadlineEndsBlockedWrite(t *testing.T) {
	wrote := make(chan error, 1)
	tr := start(t, func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		_, err := w.Write(large)
		wrote <- err
	})
	resp := get(t, tr) // and does not read
	if err := receive(wrote); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	// The slice is the handler's again: nothing of it may be read.
	if n, err := resp.Body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read after the failed write: %d, %v", n, err)
	}
}

func TestReadDeadline(t *testing.T) {
	tr := start(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := rc.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Error(err)
		}
		_, err := io.ReadAll(r.Body)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		_, _ = io.WriteString(w, "answered")
	})
	in, _ := io.Pipe()
	req := request(t.Context(), t, "POST", "x")
	req.Body, req.ContentLength = in, -1
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); string(b) != "answered" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// The API server's timeout filter leaves goroutines behind that use the writer
// and the body after the handler returned.
func TestAfterHandlerReturned(t *testing.T) {
	release, done := make(chan struct{}), make(chan struct{})
	tr := start(t, func(w http.ResponseWriter, r *http.Request) {
		go func() {
			defer close(done)
			<-release
			w.WriteHeader(500)
			w.(http.Flusher).Flush()
			if n, err := w.Write([]byte("late")); n != 0 || err == nil {
				t.Errorf("late write: %d, %v", n, err)
			}
			if n, err := r.Body.Read(make([]byte, 1)); n != 0 || err != http.ErrBodyReadAfterClose {
				t.Errorf("late read: %d, %v", n, err)
			}
			if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(-1)); err != nil {
				t.Error(err)
			}
		}()
		_, _ = w.Write([]byte("in time"))
	})
	resp, err := tr.RoundTrip(request(t.Context(), t, "POST", "body"))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Shutdown(context.Background()); err != nil { // the handler has returned
		t.Fatal(err)
	}
	close(release)
	receive(done)
	if b, err := io.ReadAll(resp.Body); string(b) != "in time" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestRefusals(t *testing.T) {
	tr := start(t, func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") })
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		edit func(*http.Request)
		want error
	}{
		"upgrade":       {func(r *http.Request) { r.Header.Set("Connection", "keep-alive, upgrade") }, ErrUpgrade},
		"connect":       {func(r *http.Request) { r.Method = http.MethodConnect }, ErrUpgrade},
		"cancelled":     {func(r *http.Request) { *r = *r.WithContext(cancelled) }, context.Canceled},
		"no URL":        {func(r *http.Request) { r.URL = nil }, nil},
		"relative path": {func(r *http.Request) { r.URL.Path = "path" }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			req := request(t.Context(), t, "POST", "x")
			body := &trackedBody{Reader: req.Body, closed: make(chan struct{})}
			req.Body = body
			tc.edit(req)
			_, err := tr.RoundTrip(req)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Error(err)
			}
			receive(body.closed)
		})
	}
}

// The API server's wrappers choose by the interfaces of the innermost writer.
func TestWriterLooksLikeHTTP2(t *testing.T) {
	get(t, start(t, func(w http.ResponseWriter, _ *http.Request) {
		if _, ok := w.(responsewriter.CloseNotifierFlusher); !ok {
			t.Error("responsewriter.WrapForHTTP1Or2 would not wrap")
		}
		if _, ok := w.(http.Hijacker); ok {
			t.Error("looks like HTTP/1")
		}
		if _, ok := w.(io.Closer); ok {
			t.Error("the handler finds the client's methods")
		}
	}))
}

func TestConcurrency(t *testing.T) {
	tr := start(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for i := range 20 {
			_, _ = w.Write(body)
			if len(r.URL.RawQuery) > 0 && i%5 == 0 {
				w.(http.Flusher).Flush()
			}
		}
	})
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			for i := range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				payload := strings.Repeat(fmt.Sprintf("%d/%d ", g, i), 1+i*g)
				req := request(ctx, t, "POST", payload)
				if i%2 == 0 {
					req.URL.RawQuery = "flush=1"
				}
				if i%7 == 0 {
					go cancel()
				}
				resp, err := tr.RoundTrip(req)
				if err == nil {
					var b []byte
					if i%11 == 0 {
						go func() { _ = resp.Body.Close() }()
					}
					b, err = io.ReadAll(resp.Body)
					if err == nil && string(b) != strings.Repeat(payload, 20) {
						t.Errorf("wrong body of %d bytes", len(b))
					}
					_ = resp.Body.Close()
				}
				if err != nil && i%7 != 0 && i%11 != 0 {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
}
