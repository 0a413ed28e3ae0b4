// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/kubembed/kubembed/internal/join"
)

// TestWatchesOfGuestsAreCounted: the watches of a join token are bounded.
func TestWatchesOfGuestsAreCounted(t *testing.T) {
	served, hold := make(chan struct{}), make(chan struct{})
	handler := New(Options{}).Filter(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		served <- struct{}{}
		<-hold
	}))
	watch := func(name, group string) int {
		r := httptest.NewRequest(http.MethodGet, "/apis/certificates.k8s.io/v1/certificatesigningrequests?watch=1", nil)
		ctx := request.WithUser(r.Context(), &user.DefaultInfo{Name: name, Groups: []string{"system:bootstrappers", group}})
		ctx = request.WithRequestInfo(ctx, &request.RequestInfo{IsResourceRequest: true, Verb: "watch", APIGroup: "certificates.k8s.io", APIVersion: "v1", Resource: "certificatesigningrequests"})
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(ctx))
		return w.Code
	}
	ended := make(chan int, bootstrapWatches+1)
	open := func(name string) {
		go func() { ended <- watch(name, join.Group) }()
		<-served
	}
	for range bootstrapWatches {
		open("system:bootstrap:abcdef")
	}
	if code := watch("system:bootstrap:abcdef", join.Group); code != http.StatusTooManyRequests {
		t.Errorf("one watch more: %d", code)
	}
	open("system:bootstrap:ghijkl")
	close(hold)
	for range bootstrapWatches + 1 {
		if code := <-ended; code != http.StatusOK {
			t.Fatalf("a watch: %d", code)
		}
	}
	hold = make(chan struct{})
	close(hold)
	open("system:bootstrap:abcdef")
}
