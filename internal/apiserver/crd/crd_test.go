// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package crd_test

import (
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/apiserver/crd"
)

// TestResource verifies the resource that waits for CRDs refer to.
func TestResource(t *testing.T) {
	t.Parallel()
	if got, want := crd.Resource.String(), "customresourcedefinitions.apiextensions.k8s.io"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestResourceOfKind verifies that a kind is found in versions that are served, once its
// CRD is established.
func TestResourceOfKind(t *testing.T) {
	t.Parallel()
	widgets := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"}}
	widgets.Spec.Group = "example.com"
	widgets.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true}, {Name: "v2"}}
	widgets.Status.AcceptedNames = apiextensionsv1.CustomResourceDefinitionNames{Kind: "Widget", Plural: "widgets"}
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	if err := indexer.Add(widgets); err != nil {
		t.Fatal(err)
	}
	lister := listers.NewCustomResourceDefinitionLister(indexer)
	kind := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"}
	if got, ok := crd.ResourceOfKind(lister, kind); ok {
		t.Errorf("before the CRD is established: got %s, want none", got)
	}
	widgets.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}}
	want := schema.GroupResource{Group: "example.com", Resource: "widgets"}
	if got, ok := crd.ResourceOfKind(lister, kind); !ok || got != want {
		t.Errorf("got %s, %t; want %s", got, ok, want)
	}
	kind.Version = "v2"
	if got, ok := crd.ResourceOfKind(lister, kind); ok {
		t.Errorf("a version that is not served: got %s, want none", got)
	}
}
