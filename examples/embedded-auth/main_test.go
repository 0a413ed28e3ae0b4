// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestRun: the session says who creates the object, the table says who may, and the label
// comes from the plugin.
func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"session:alice: labels map[cost-centre:shop], error <nil>",
		`session:bob: labels map[], error configmaps is forbidden: User "session:bob" cannot create resource "configmaps"`,
		"not in the table of rights",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got\n%s, want %q in it", &out, want)
		}
	}
}

// TestAuthenticate: pages of other sites cannot use a session, and nothing behind the API
// server gets its cookie.
func TestAuthenticate(t *testing.T) {
	for site, want := range map[string]bool{"": true, "same-origin": true, "same-site": false, "cross-site": false} {
		r := httptest.NewRequest(http.MethodPost, "/api/v1/namespaces/default/configmaps", http.NoBody)
		r.AddCookie(&http.Cookie{Name: "session", Value: "s-4711"})
		r.Header.Set("Sec-Fetch-Site", site)
		who, ok, err := authenticate(r)
		if ok != want || ok != (err == nil) || ok && who.User.GetName() != "session:alice" {
			t.Errorf("%q: got %+v, %t, %v", site, who, ok, err)
		}
		if has := r.Header.Get("Cookie") != ""; has == want {
			t.Errorf("%q: the cookie is in the request: %t", site, has)
		}
	}
}
