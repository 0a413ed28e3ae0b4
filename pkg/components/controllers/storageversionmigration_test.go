// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/components/controllers"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestStorageVersionMigration migrates a built-in resource, and custom resources with
// another storage version: with objects, after which the old version is no longer listed
// as stored, and without objects.
func TestStorageVersionMigration(t *testing.T) {
	p := start(t, controlplane.Config{})
	p.run(t, controllers.New(controllers.Config{}))
	crds, err := apiextensionsclient.NewForConfig(p.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, plural := range []string{"widgets", "gadgets"} {
		createCRD(t, crds, plural)
	}
	custom, err := dynamic.NewForConfig(p.config)
	if err != nil {
		t.Fatal(err)
	}
	widgets := custom.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}).Namespace("default")
	createWidget := func(name string) {
		t.Helper()
		if _, err := widgets.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"name": name},
		}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	createConfigMap := func(name string) {
		t.Helper()
		if _, err := p.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	createWidget("old")
	createConfigMap("old")
	for _, plural := range []string{"widgets", "gadgets"} {
		storeAsV2(t, crds, plural)
	}

	for _, resource := range []metav1.GroupResource{
		{Group: "example.com", Resource: "widgets"}, {Group: "example.com", Resource: "gadgets"}, {Resource: "configmaps"},
	} {
		if _, err := p.StoragemigrationV1().StorageVersionMigrations().Create(t.Context(), &storagemigrationv1.StorageVersionMigration{
			ObjectMeta: metav1.ObjectMeta{Name: resource.Resource},
			Spec:       storagemigrationv1.StorageVersionMigrationSpec{Resource: resource},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// The migration starts when the garbage collector has seen a later change of the
	// resource. Without these changes that takes until the next bookmark, up to a minute.
	for i, resource := range []string{"widgets", "configmaps", "gadgets"} {
		testwait.Object(t, testwait.Named(p.StoragemigrationV1().RESTClient(), "storageversionmigrations", "", resource), &storagemigrationv1.StorageVersionMigration{},
			func(m *storagemigrationv1.StorageVersionMigration) bool { return m.Status.ResourceVersion != "" })
		switch resource {
		case "widgets":
			createWidget(fmt.Sprint("later-", i))
		case "configmaps":
			createConfigMap(fmt.Sprint("later-", i))
		}
	}
	for _, resource := range []string{"widgets", "configmaps", "gadgets"} {
		testwait.UntilWithin(t, 2*testwait.Timeout, resource+" are migrated", func(ctx context.Context) error {
			m, err := p.StoragemigrationV1().StorageVersionMigrations().Get(ctx, resource, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if failed := apimeta.FindStatusCondition(m.Status.Conditions, string(storagemigrationv1.MigrationFailed)); failed != nil {
				t.Fatalf("%s: %+v", resource, failed)
			}
			if !apimeta.IsStatusConditionTrue(m.Status.Conditions, string(storagemigrationv1.MigrationSucceeded)) {
				return fmt.Errorf("got conditions %v", m.Status.Conditions)
			}
			return nil
		})
	}
	testwait.True(t, "only the new version is stored", func() bool {
		crd, err := crds.CustomResourceDefinitions().Get(t.Context(), "widgets.example.com", metav1.GetOptions{})
		return err == nil && slices.Equal(crd.Status.StoredVersions, []string{"v2"})
	})
	widget, err := widgets.Get(t.Context(), "old", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if widget.GetGeneration() != 1 || widget.GetDeletionTimestamp() != nil {
		t.Errorf("the widget has changed: %v", widget)
	}
}

// createCRD creates a CRD with two versions, stores v1, and waits until it is served.
func createCRD(t *testing.T, crds apiextensionsclient.CustomResourceDefinitionsGetter, plural string) {
	t.Helper()
	kind := map[string]string{"widgets": "Widget", "gadgets": "Gadget"}[plural]
	version := func(name string, stored bool) apiextensionsv1.CustomResourceDefinitionVersion {
		return apiextensionsv1.CustomResourceDefinitionVersion{Name: name, Served: true, Storage: stored,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}}}
	}
	if _, err := crds.CustomResourceDefinitions().Create(t.Context(), &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: plural + ".example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Kind: kind},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", true), version("v2", false)},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.True(t, plural+" are served", func() bool {
		crd, err := crds.CustomResourceDefinitions().Get(t.Context(), plural+".example.com", metav1.GetOptions{})
		return err == nil && slices.ContainsFunc(crd.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
			return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
		})
	})
}

// storeAsV2 makes v2 the stored version.
func storeAsV2(t *testing.T, crds apiextensionsclient.CustomResourceDefinitionsGetter, plural string) {
	t.Helper()
	testwait.True(t, "v2 is stored", func() bool {
		crd, err := crds.CustomResourceDefinitions().Get(t.Context(), plural+".example.com", metav1.GetOptions{})
		if err != nil {
			return false
		}
		for i := range crd.Spec.Versions {
			crd.Spec.Versions[i].Storage = crd.Spec.Versions[i].Name == "v2"
		}
		_, err = crds.CustomResourceDefinitions().Update(t.Context(), crd, metav1.UpdateOptions{})
		return err == nil
	})
	testwait.True(t, "v2 is listed as stored", func() bool {
		crd, err := crds.CustomResourceDefinitions().Get(t.Context(), plural+".example.com", metav1.GetOptions{})
		return err == nil && slices.Contains(crd.Status.StoredVersions, "v2")
	})
}
