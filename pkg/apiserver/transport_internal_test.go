// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/internal/apiserver/serving"
)

// TestPanicInProcessIsLogged: a panic outside upstream's recovery of panics is in the
// log, and its client gets an error.
func TestPanicInProcessIsLogged(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	s := &Server{environment: environment{state: &state{}, config: Config{Logger: zap.New(core)}, ctx: t.Context()}, prepared: make(chan struct{}), hostHandlers: &serving.HostHandlers{}}
	s.handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("outside the recovery") })
	s.discovered.Store(true)
	close(s.prepared)
	transport := s.newTransport()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://127.0.0.1/api/v1/pods", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err == nil {
		_ = response.Body.Close()
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got error %v, want %v", err, io.ErrUnexpectedEOF)
	}
	if err := transport.Shutdown(t.Context()); err != nil { // after it has been logged
		t.Fatal(err)
	}
	entries := logs.All()
	if len(entries) != 1 {
		t.Fatalf("got %d log entries, want 1: %v", len(entries), entries)
	}
	fields := entries[0].ContextMap()
	if fields["path"] != "/api/v1/pods" || fields["panic"] != "outside the recovery" {
		t.Errorf("got fields %v, want the path and the panic", fields)
	}
	if stack, _ := fields["stack"].(string); !strings.Contains(stack, "TestPanicInProcessIsLogged") {
		t.Errorf("got stack %q, want that of the panic", stack)
	}
}
