// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inprocess

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"testing"
)

// BenchmarkGet is a GET of 2 KiB, the size of a small pod, over a Transport and
// over net/http's HTTP/2 with TLS.
func BenchmarkGet(b *testing.B) {
	payload := bytes.Repeat([]byte("x"), 2<<10)
	compare(b, int64(len(payload)), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(200)
		_, _ = w.Write(payload)
	})
}

// BenchmarkList is a GET of 4 MiB in writes of 2 KiB.
func BenchmarkList(b *testing.B) {
	payload := bytes.Repeat([]byte("x"), 2<<10)
	compare(b, 4<<20, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for range 2 << 10 {
			_, _ = w.Write(payload)
		}
	})
}

func compare(b *testing.B, size int64, h http.HandlerFunc) {
	run := func(b *testing.B, tr http.RoundTripper, base string) {
		u, err := url.Parse(base + "/api/v1/namespaces/default/pods/x")
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(size)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				req := (&http.Request{Method: "GET", URL: u, Header: http.Header{"Accept": {"application/json"}}}).WithContext(b.Context())
				resp, err := tr.RoundTrip(req)
				if err != nil {
					b.Error(err)
					return
				}
				if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
					b.Errorf("%d bytes, %v", n, err)
				}
				_ = resp.Body.Close()
			}
		})
	}
	b.Run("inprocess", func(b *testing.B) { run(b, start(b, h), "https://in-process") })
	b.Run("http2", func(b *testing.B) {
		tr, base := startHTTP2(b, h)
		run(b, tr, base)
	})
}

// BenchmarkWatch is one event of 2 KiB, flushed, on an open stream.
func BenchmarkWatch(b *testing.B) {
	payload := bytes.Repeat([]byte("x"), 2<<10)
	run := func(b *testing.B, connect func(http.HandlerFunc) (http.RoundTripper, string)) {
		next := make(chan struct{})
		tr, base := connect(func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			for range next {
				_, _ = w.Write(payload)
				w.(http.Flusher).Flush()
			}
		})
		req, _ := http.NewRequestWithContext(b.Context(), "GET", base+"/watch", nil)
		resp, err := tr.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, len(payload))
		b.ReportAllocs()
		for b.Loop() {
			next <- struct{}{}
			if _, err := io.ReadFull(resp.Body, buf); err != nil {
				b.Fatal(err)
			}
		}
		close(next)
		_ = resp.Body.Close()
	}
	b.Run("inprocess", func(b *testing.B) {
		run(b, func(h http.HandlerFunc) (http.RoundTripper, string) { return start(b, h), "https://in-process" })
	})
	b.Run("http2", func(b *testing.B) {
		run(b, func(h http.HandlerFunc) (http.RoundTripper, string) { return startHTTP2(b, h) })
	})
}
