// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/pool/internal/place"
	"github.com/kubembed/kubembed/pkg/pool/internal/protocol"
)

// fakeProgram answers requests for leases, and counts calls of leases in calls.
type fakeProgram struct {
	program
	socket string
	calls  chan string
}

func newFakeProgram(t *testing.T, lease http.HandlerFunc) *fakeProgram {
	t.Helper()
	s := &suite{t, t.TempDir()}
	s.write("controlplanes", "it serves in this process")
	f := &fakeProgram{program: program{filepath.Join(s.root, "controlplanes"), "Config.Program"}, calls: make(chan string, 10)}
	dir, err := place.Of(f.path)
	s.must(err)
	t.Cleanup(func() { s.must(os.RemoveAll(dir)) })
	f.socket = filepath.Join(dir, place.Socket)
	listener, err := net.Listen("unix", f.socket)
	s.must(err)
	mux := http.NewServeMux()
	mux.HandleFunc(protocol.PathLeases, lease)
	mux.HandleFunc(protocol.PathLeases+"/id/{call}", func(w http.ResponseWriter, r *http.Request) {
		f.calls <- r.PathValue("call")
		_, _ = w.Write([]byte("{}"))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() { s.must(server.Close()); <-ended })
	return f
}

// TestNoLeaseInTime: the program runs, so that the error does not say that it has ended,
// and the test does not try again.
func TestNoLeaseInTime(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter){
		"no answer": func(http.ResponseWriter) {},
		"no lease":  func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			timeout := errors.New("no control plane in time")
			ctx, end := context.WithCancelCause(t.Context())
			f := newFakeProgram(t, func(w http.ResponseWriter, r *http.Request) {
				answer(w)
				end(timeout)
				<-r.Context().Done()
			})
			_, err := begin(ctx, f.socket, "log", protocol.LeaseRequest{})
			if !errors.Is(err, timeout) || errors.Is(err, errGone) {
				t.Errorf("got %v, want the cause of the end alone", err)
			}
		})
	}
}

// TestProgramEndsBeforeTheLease: the test asks some more, and then fails with the end of
// the program.
func TestProgramEndsBeforeTheLease(t *testing.T) {
	asked := make(chan struct{}, 10)
	f := newFakeProgram(t, func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		panic(http.ErrAbortHandler)
	})
	_, err := f.lease(t.Context(), 0, protocol.LeaseRequest{})
	if !errors.Is(err, errGone) || !strings.Contains(err.Error(), f.path) {
		t.Errorf("got %v, want the end of the program", err)
	}
	if len(asked) != leaseTries {
		t.Errorf("asked %d times, want %d", len(asked), leaseTries)
	}
}

// TestNoCallsAfterClose: the log that a failed test shows at its very end is there
// already. A request would leave a connection open.
func TestNoCallsAfterClose(t *testing.T) {
	f := newFakeProgram(t, func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(protocol.Event{Lease: &protocol.Lease{ID: "id"}})
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	s, err := begin(t.Context(), f.socket, "log", protocol.LeaseRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if call := <-f.calls; call != protocol.CallLog {
		t.Errorf("got call %s, want the one for the log", call)
	}
	s.log.report(0, time.Time{})
	if len(f.calls) > 0 {
		t.Errorf("call %s after Close", <-f.calls)
	}
}
