// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"k8s.io/streaming/pkg/httpstream"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Writes are the mutating requests in flight. The zero value is ready. It is safe for
// concurrent use.
type Writes struct{ inFlight lifecycle.InFlight }

// Begin counts a request, if it is a mutating one, until end is called.
func (w *Writes) Begin(r *http.Request) (end func()) {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		if !isStream(r) {
			return w.inFlight.Begin(nil)
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

// Wait returns when the requests that began before the call have ended. The error is the
// cause of ctx if that ends first.
func (w *Writes) Wait(ctx context.Context) error { return w.inFlight.Wait(ctx) }
