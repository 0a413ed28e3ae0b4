// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
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

// TestAdmit: the plugin labels the ConfigMaps of the program's users, and leaves the
// objects of others and of other resources alone, which may have no labels at all.
func TestAdmit(t *testing.T) {
	alice, other := sessions["s-4711"], user.DefaultInfo{Name: "jane"}
	for _, test := range []struct {
		who      user.DefaultInfo
		resource string
		object   runtime.Object
		want     string
	}{
		{alice, "configmaps", &corev1.ConfigMap{}, "shop"},
		{alice, "serviceaccounts", &corev1.ServiceAccount{}, ""},
		{alice, "bindings", &metav1.Status{}, ""},
		{other, "configmaps", &corev1.ConfigMap{}, ""},
		{other, "bindings", &metav1.Status{}, ""},
	} {
		attributes := admission.NewAttributesRecord(test.object, nil, schema.GroupVersionKind{}, "default", "any",
			corev1.SchemeGroupVersion.WithResource(test.resource), "", admission.Create, nil, false, &test.who)
		if err := (stamp{}).Admit(t.Context(), attributes, nil); err != nil {
			t.Errorf("%s creates %s: %v", test.who.Name, test.resource, err)
		}
		if object, err := meta.Accessor(test.object); err == nil && object.GetLabels()["cost-centre"] != test.want {
			t.Errorf("%s creates %s: got labels %v, want %q", test.who.Name, test.resource, object.GetLabels(), test.want)
		}
	}
}
