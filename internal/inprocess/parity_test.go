// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inprocess

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

var quiet = log.New(io.Discard, "", 0)

// outcome is the part of an exchange that a client can observe.
type outcome struct {
	Failed        bool
	Status        string
	StatusCode    int
	Proto         string
	Header        http.Header
	ContentLength int64
	Body          string
	BodyErr       string
}

func observe(t *testing.T, tr http.RoundTripper, req *http.Request) outcome {
	t.Helper()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return outcome{Failed: true}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	o := outcome{Status: resp.Status, StatusCode: resp.StatusCode, Proto: resp.Proto, Header: resp.Header.Clone(),
		ContentLength: resp.ContentLength, Body: string(body)}
	if err != nil {
		o.BodyErr = "error"
		if errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "stream error") {
			o.BodyErr = "cut short"
		}
	}
	o.Header.Del("Date")
	return o
}

// TestParity runs the same handlers under net/http's HTTP/2 server and under
// a Transport: the client must not be able to tell them apart.
func TestParity(t *testing.T) {
	write := func(w http.ResponseWriter, s string) { _, _ = io.WriteString(w, s) }
	for _, tc := range []struct {
		name, method string
		handler      http.HandlerFunc
	}{
		{"nothing", "GET", func(http.ResponseWriter, *http.Request) {}},
		{"implicit 200", "GET", func(w http.ResponseWriter, _ *http.Request) { write(w, "hello") }},
		{"two writes", "GET", func(w http.ResponseWriter, _ *http.Request) { write(w, "hello"); write(w, " world") }},
		{"404", "GET", http.NotFound},
		{"unknown status", "GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(799); write(w, "x") }},
		{"content type", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			write(w, "{}")
		}},
		{"sniffed html", "GET", func(w http.ResponseWriter, _ *http.Request) { write(w, "<html><body>") }},
		{"no sniffing", "GET", func(w http.ResponseWriter, _ *http.Request) { w.Header()["Content-Type"] = nil; write(w, "<html>") }},
		{"encoded is not sniffed", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			write(w, "\x1f\x8b\x08")
		}},
		{"flushed", "GET", func(w http.ResponseWriter, _ *http.Request) {
			write(w, "a")
			w.(http.Flusher).Flush()
			write(w, "b")
		}},
		{"flushed before writing", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			write(w, "<html>")
		}},
		{"watch header", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Transfer-Encoding", "chunked")
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			write(w, "event")
		}},
		{"connection close", "GET", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close"); write(w, "x") }},
		{"several values, other case", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Warning", "299 - \"a\"")
			w.Header().Add("Warning", "299 - \"b\"")
			w.Header()["x-lower"] = []string{"c"}
		}},
		{"header after WriteHeader", "GET", func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set("X-Before", "1")
			w.WriteHeader(201)
			h.Set("X-After", "1")
			w.Header().Set("X-Before", "2")
			write(w, "x")
		}},
		{"header after Write", "GET", func(w http.ResponseWriter, _ *http.Request) { write(w, "x"); w.Header().Set("X-After", "1") }},
		{"superfluous WriteHeader", "GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.WriteHeader(500) }},
		{"informational", "GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(202); write(w, "x") }},
		{"204", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(204)
			if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Errorf("write after 204: %v", err)
			}
		}},
		{"304", "GET", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Etag", `"1"`); w.WriteHeader(304) }},
		{"204 flushed", "GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204); w.(http.Flusher).Flush() }},
		{"HEAD", "HEAD", func(w http.ResponseWriter, _ *http.Request) { write(w, "hello") }},
		{"HEAD without write", "HEAD", func(http.ResponseWriter, *http.Request) {}},
		{"HEAD with length", "HEAD", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "42") }},
		{"HEAD flushed", "HEAD", func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); write(w, "hello") }},
		{"declared length", "GET", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "5"); write(w, "hello") }},
		{"declared length, flushed", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			w.(http.Flusher).Flush()
			write(w, "hello")
		}},
		{"declared too long", "GET", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "6"); write(w, "hello") }},
		{"declared nonsense", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "many")
			write(w, "hello")
		}},
		{"panic", "GET", func(http.ResponseWriter, *http.Request) { panic("boom") }},
		{"panic after write", "GET", func(w http.ResponseWriter, _ *http.Request) { write(w, "x"); panic(http.ErrAbortHandler) }},
		{"panic after flush", "GET", func(w http.ResponseWriter, _ *http.Request) {
			write(w, "x")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}},
		{"invalid status", "GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(42) }},
		{"10 MB in one write", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(large)))
			_, _ = w.Write(large)
		}},
		{"10 MB in small writes", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(large)))
			for rest := large; len(rest) > 0; {
				n := min(len(rest), 3001)
				_, _ = w.Write(rest[:n])
				rest = rest[n:]
			}
		}},
		{"10 MB in mixed writes", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(large)))
			for rest, n := large, 1; len(rest) > 0; n = n*3 + 1 {
				n = min(len(rest), n)
				_, _ = w.Write(rest[:n])
				rest = rest[n:]
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h2, base := startHTTP2(t, tc.handler)
			req := request(t.Context(), t, tc.method, "")
			req.URL, _ = url.Parse(base + "/path")
			want := observe(t, h2, req)
			got := observe(t, start(t, tc.handler), request(t.Context(), t, tc.method, ""))
			if !reflect.DeepEqual(got, want) {
				t.Errorf("in-process: %.600s\nHTTP/2:     %.600s", fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want))
			}
		})
	}
}

var large = func() []byte {
	b := make([]byte, 10<<20)
	for i := range b {
		b[i] = byte(i * 31 >> 3)
	}
	return b
}()

// TestRequestParity compares what handlers see of requests.
func TestRequestParity(t *testing.T) {
	type seen struct {
		Method, URI, Path, RawPath, RawQuery, Host, URLHost, Proto string
		Header                                                     http.Header
		Length                                                     int64
		Body                                                       string
	}
	echo := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h := r.Header.Clone()
		h.Del("Content-Length") // only a wire needs it: Request.ContentLength says it
		_ = json.NewEncoder(w).Encode(seen{Method: r.Method, URI: r.RequestURI, Path: r.URL.Path, RawPath: r.URL.RawPath,
			RawQuery: r.URL.RawQuery, Host: r.Host, URLHost: r.URL.Host, Proto: r.Proto, Header: h,
			Length: r.ContentLength, Body: string(body)})
	}
	for name, edit := range map[string]func(*http.Request){
		"plain":            func(*http.Request) {},
		"no method":        func(r *http.Request) { r.Method = "" },
		"no path":          func(r *http.Request) { r.URL.Path = "" },
		"query":            func(r *http.Request) { r.URL.RawQuery = "watch=1&labelSelector=a%3Db" },
		"force query":      func(r *http.Request) { r.URL.ForceQuery = true },
		"fragment":         func(r *http.Request) { r.URL.Fragment = "f" },
		"escaped path":     func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/a/b c/d", "/a%2Fb%20c/d" },
		"unescaped path":   func(r *http.Request) { r.URL.Path = "/a b/ü%" },
		"host":             func(r *http.Request) { r.Host = "example.com:123" },
		"headers":          func(r *http.Request) { r.Header = http.Header{"Accept": {"a", "b"}, "X-Empty": {}, "X-Blank": {""}} },
		"other case":       func(r *http.Request) { r.Header["impersonate-user"] = []string{"root"} },
		"hop by hop":       func(r *http.Request) { r.Header.Set("Connection", "keep-alive"); r.Header.Set("Host", "x") },
		"body":             func(r *http.Request) { r.Method = "POST"; r.Body = body("hello"); r.ContentLength = 5 },
		"unknown length":   func(r *http.Request) { r.Method = "POST"; r.Body = body("hello"); r.ContentLength = -1 },
		"unset length":     func(r *http.Request) { r.Method = "POST"; r.Body = body("hello") },
		"no body":          func(r *http.Request) { r.Method = "PUT"; r.Body = http.NoBody },
		"body with DELETE": func(r *http.Request) { r.Method = "DELETE"; r.Body = body("{}"); r.ContentLength = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			h2, base := startHTTP2(t, http.HandlerFunc(echo))
			do := func(tr http.RoundTripper) string {
				req := request(t.Context(), t, "GET", "")
				u, _ := url.Parse(base)
				req.URL.Host, req.Host = u.Host, "in-process"
				req.Header.Set("User-Agent", "test")
				edit(req)
				if req.Header.Get("User-Agent") == "" {
					req.Header.Set("User-Agent", "test")
				}
				o := observe(t, tr, req)
				if o.StatusCode != 200 {
					t.Fatalf("%+v", o)
				}
				return o.Body
			}
			want, got := do(h2), do(start(t, echo))
			if got != want {
				t.Errorf("in-process: %sHTTP/2:     %s", got, want)
			}
		})
	}
}

func body(s string) io.ReadCloser { return io.NopCloser(bytes.NewReader([]byte(s))) }
