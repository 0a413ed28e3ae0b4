// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"

	"k8s.io/streaming/pkg/httpstream"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Writes are the mutating requests in flight. The zero value is ready. It is safe for
// concurrent use.
type Writes struct {
	mu      sync.Mutex
	begun   uint64 // number of requests so far
	running map[uint64]struct{}
}

// Begin counts a request, if it is a mutating one, until end is called.
func (w *Writes) Begin(r *http.Request) (end func()) {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		if !isStream(r) {
			return w.begin()
		}
	}
	return func() {}
}

// isStream reports whether a request streams to a kubelet or a pod, and changes nothing
// that is stored. Any client may send the header of an upgrade with any request.
func isStream(r *http.Request) bool {
	return httpstream.IsUpgradeRequest(r) && slices.ContainsFunc(strings.Split(r.URL.Path, "/"), Streams)
}

// Streams reports whether requests to a subresource go through to a kubelet or a pod with
// their body. A header of the client, like Connection: Upgrade, does not matter: upstream
// decodes the body of other requests in any case.
func Streams(subresource string) bool {
	switch subresource {
	case "proxy", "exec", "attach", "portforward":
		return true
	}
	return false
}

func (w *Writes) begin() (end func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running == nil {
		w.running = map[uint64]struct{}{}
	}
	number := w.begun
	w.begun++
	w.running[number] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.running, number)
	}
}

// Wait returns when the requests that began before the call have ended. The error is the
// cause of ctx if that ends first.
func (w *Writes) Wait(ctx context.Context) error {
	w.mu.Lock()
	before := w.begun
	w.mu.Unlock()
	return lifecycle.Poll(ctx, func() bool { return w.ended(before) })
}

func (w *Writes) ended(before uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for number := range w.running {
		if number < before {
			return false
		}
	}
	return true
}
