// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inprocess

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start returns a Transport over h that is closed, and so awaited, with the test.
func start(t testing.TB, h http.HandlerFunc) *Transport {
	t.Helper()
	tr := NewTransport(h)
	t.Cleanup(func() { _ = tr.Shutdown(context.Background()) })
	return tr
}

// startHTTP2 returns the client and the URL of net/http's own server over h.
func startHTTP2(t testing.TB, h http.Handler) (http.RoundTripper, string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	tr := s.Client().Transport.(*http.Transport)
	tr.DisableCompression = true
	return tr, s.URL
}

func request(ctx context.Context, t testing.TB, method, body string) *http.Request {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://in-process/path", r)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func get(t testing.TB, tr http.RoundTripper) *http.Response {
	t.Helper()
	resp, err := tr.RoundTrip(request(t.Context(), t, http.MethodGet, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// receive waits for c to deliver or to be closed. A test that fails here hangs
// until go test's own timeout, which prints all goroutines.
func receive[T any](c <-chan T) T { return <-c }
