// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// TestUninstallWithFinalizer: the message names an object that keeps its CRD.
func TestUninstallWithFinalizer(t *testing.T) {
	t.Parallel()
	cp := New(t, Config{})
	kind := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Foo"}
	crds := CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{NewCRD(kind, "foos", apiextensionsv1.NamespaceScoped)}}
	cp.InstallCRDs(t, crds)
	foo := &unstructured.Unstructured{}
	foo.SetGroupVersionKind(kind)
	foo.SetName("stays")
	foo.SetFinalizers([]string{"example.com/nobody"})
	foos := dynamic.NewForConfigOrDie(cp.ClientConfig()).Resource(kind.GroupVersion().WithResource("foos")).Namespace("default")
	if _, err := foos.Create(t.Context(), foo, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := cp.uninstallCRDs(ctx, crds)
	if err == nil {
		t.Fatal("uninstalled")
	}
	for _, want := range []string{"CRDs.Objects[0]", "foos.example.com", "is not gone", "default/stays [example.com/nobody]"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	if _, err := foos.Patch(t.Context(), "stays", "application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	// The CRD is being deleted. It is removed with the object that kept it, and can be
	// installed again meanwhile.
	if again := cp.InstallCRDs(t, crds)[0]; again.DeletionTimestamp != nil {
		t.Errorf("got a CRD that is being deleted: %v, want the new one", again.ObjectMeta)
	}
}
