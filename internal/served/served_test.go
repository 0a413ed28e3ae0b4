// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package served_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/served"
)

// discoveryOf returns a client of a server with these answers by path. Everything else of
// it is unavailable.
func discoveryOf(t *testing.T, answers map[string]any) discovery.DiscoveryInterface {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	client, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// answers has three resources, and a group metrics.k8s.io whose server is unavailable.
var answers = map[string]any{
	"/api":          metav1.APIVersions{Versions: []string{"v1"}},
	"/apis":         metav1.APIGroupList{Groups: []metav1.APIGroup{group("apps"), group("metrics.k8s.io")}},
	"/api/v1":       metav1.APIResourceList{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "pods"}, {Name: "pods/status"}}},
	"/apis/apps/v1": metav1.APIResourceList{GroupVersion: "apps/v1", APIResources: []metav1.APIResource{{Name: "deployments"}}},
}

func group(name string) metav1.APIGroup {
	version := metav1.GroupVersionForDiscovery{GroupVersion: name + "/v1", Version: "v1"}
	return metav1.APIGroup{Name: name, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version}
}

func TestRequire(t *testing.T) {
	client := discoveryOf(t, answers)
	if err := served.Require(client, "it", "v1/pods", "apps/v1/deployments"); err != nil {
		t.Errorf("served resources: %v", err)
	}
	err := served.Require(client, "the component", "v1/pods", "batch/v1/jobs", "apps/v1/replicasets", "batch/v1/jobs", "apps/v1beta1/deployments")
	var missing *served.MissingError
	if !errors.As(err, &missing) {
		t.Fatalf("got %v, want a MissingError", err)
	}
	if want := []string{"apps/v1/replicasets", "apps/v1beta1/deployments", "batch/v1/jobs"}; !slices.Equal(missing.Resources, want) {
		t.Errorf("missing: %q, want %q", missing.Resources, want)
	}
	for _, text := range append(missing.Resources, "the component", "Config.RuntimeConfig") {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in %q", text, err)
		}
	}
}

// TestDiscoverFails: without an answer it is unknown which resources are missing.
func TestDiscoverFails(t *testing.T) {
	err := served.Require(discoveryOf(t, nil), "it", "v1/pods")
	if err == nil || errors.As(err, new(*served.MissingError)) {
		t.Errorf("got %v, want an error of the discovery", err)
	}
}

func TestName(t *testing.T) {
	for want, resource := range map[string]schema.GroupVersionResource{
		"v1/pods":             {Version: "v1", Resource: "pods"},
		"apps/v1/replicasets": {Group: "apps", Version: "v1", Resource: "replicasets"},
	} {
		if got := served.Name(resource); got != want {
			t.Errorf("Name(%v) = %q, want %q", resource, got, want)
		}
	}
}

// TestOfInformers: kinds that the scheme does not know are custom resources, which are
// created later.
func TestOfInformers(t *testing.T) {
	got := served.OfInformers(scheme.Scheme, map[reflect.Type]bool{
		reflect.TypeFor[*corev1.Endpoints]():              true, //nolint:staticcheck // an irregular plural
		reflect.TypeFor[*appsv1.ReplicaSet]():             false,
		reflect.TypeFor[*unstructured.UnstructuredList](): true,
		reflect.TypeFor[*strings.Builder]():               true,
	})
	slices.Sort(got)
	if want := []string{"apps/v1/replicasets", "v1/endpoints"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
