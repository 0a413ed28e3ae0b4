// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"net/url"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

type resolvesTo string

func (r resolvesTo) ResolveEndpoint(string, string, int32) (*url.URL, error) {
	return &url.URL{Host: string(r)}, nil
}

// TestResolver verifies that Services resolve to their endpoints, except for those of
// type ExternalName.
func TestResolver(t *testing.T) {
	t.Parallel()
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	r := &resolver{services: corev1listers.NewServiceLister(indexer), toEndpoint: resolvesTo("endpoint"), toService: resolvesTo("service")}
	for name, kind := range map[string]corev1.ServiceType{"cluster-ip": corev1.ServiceTypeClusterIP, "external": corev1.ServiceTypeExternalName} {
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{Type: kind}}
		if err := indexer.Add(service); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"cluster-ip": "endpoint", "external": "service", "missing": "endpoint"} {
		got, err := r.ResolveEndpoint("default", name, 443)
		if err != nil || got.Host != want {
			t.Errorf("%s: got %v, %v; want %s", name, got, err, want)
		}
	}
}
