// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// TestMountedRedirects: redirects of the handler keep the path below which it is mounted.
func TestMountedRedirects(t *testing.T) {
	for _, test := range []struct{ prefix, asked, location, want string }{
		{"/k8s", "/k8s/debug", "/debug/", "/k8s/debug/"},
		{"/k8s", "/k8s/debug?a=b", "/debug/?a=b", "/k8s/debug/?a=b"},
		{"/a/b", "/a/b/", "/", "/a/b/"},
		{"/k8s/", "/k8s/debug", "/debug/", "/k8s/debug/"},
		{"/a b", "/a%20b/c", "/c%20d", "/a%20b/c%20d"},
		{"", "/debug", "/debug/", "/debug/"},
		{"/k8s", "/k8s/debug", "https://example.com/x", "https://example.com/x"},
		{"/k8s", "/k8s/debug", "//example.com/x", "//example.com/x"},
		{"/k8s", "/k8s/debug", "x", "x"},
		{"/k8s", "/k8s/debug", "", ""},
	} {
		var m Mounted
		handler := m.Handler(MountOptions{Context: t.Context(), Requests: &lifecycle.Group{}, Logger: zap.NewNop(), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if test.location != "" {
				w.Header().Set("Location", test.location)
			}
			w.WriteHeader(http.StatusFound)
		})})
		answer := httptest.NewRecorder()
		http.StripPrefix(test.prefix, handler).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, test.asked, http.NoBody))
		if got := answer.Header().Get("Location"); got != test.want || answer.Code != http.StatusFound {
			t.Errorf("%+v: got HTTP %d, Location %q", test, answer.Code, got)
		}
	}
}
