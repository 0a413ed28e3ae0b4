// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package containment

import (
	"net/http"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
)

// TestPanicsOfRequestsAreCheap: a request that clients make panic takes neither the lock
// of the process nor a profile of all its goroutines. Under one lock these took all CPU,
// and a stop had to wait for them.
func TestPanicsOfRequestsAreCheap(t *testing.T) {
	id := parts.add(func(err error) { t.Errorf("a part has failed: %v", err) })
	defer parts.remove(id)
	answered := make(chan struct{})
	request := authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		contain(r.Context(), http.ErrAbortHandler)
		return nil, false, nil
	})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	parts.mu.Lock()
	go func() {
		defer close(answered)
		_, _, _ = request.AuthenticateRequest(r)
	}()
	select {
	case <-answered:
	case <-time.After(10 * time.Second):
		t.Error("the request waits for the lock")
	}
	parts.mu.Unlock()
	<-answered
}
