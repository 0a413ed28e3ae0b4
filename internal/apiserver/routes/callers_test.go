// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package routes

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	"k8s.io/apiserver/pkg/server/mux"

	"github.com/kubembed/kubembed/internal/apiserver/unexported"
)

// TestForgetCallers: no stack trace is left, and all paths are served and known.
func TestForgetCallers(t *testing.T) {
	m := mux.NewPathRecorderMux("test")
	m.HandleFunc("/known", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	forgetCallers(m)
	stacks := unexported.Field[map[string]string](reflect.ValueOf(m).Elem(), "pathStacks")
	if stacks == nil {
		t.Fatal("upstream keeps no stack traces in pathStacks")
	}
	if stack, known := (*stacks)["/known"]; !known || stack != "" {
		t.Errorf("got stack trace %q of a known path (%t), want none", stack, known)
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/known", nil))
	if w.Code != http.StatusTeapot {
		t.Errorf("got status %d, want %d", w.Code, http.StatusTeapot)
	}
}
