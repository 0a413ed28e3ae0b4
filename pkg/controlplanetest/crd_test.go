// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

//go:embed testdata/crds/*.json testdata/crds/*.yaml testdata/crds/*.yml
var embedded embed.FS

var inTestdata = []string{"gadgets.example.com", "gears.example.com", "widgets.example.com"}

func namesOf(crds []*apiextensionsv1.CustomResourceDefinition) []string {
	var names []string
	for _, crd := range crds {
		names = append(names, crd.Name)
	}
	return names
}

// TestCRDSources: each source gives the same CRDs. They are served when InstallCRDs
// returns, and not served when UninstallCRDs returns.
func TestCRDSources(t *testing.T) {
	t.Parallel()
	directory, err := fs.Sub(embedded, "testdata/crds")
	if err != nil {
		t.Fatal(err)
	}
	widgets, err := os.ReadFile("testdata/crds/widgets.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cp := controlplanetest.New(t, controlplanetest.Config{})
	var objects []*apiextensionsv1.CustomResourceDefinition
	for _, source := range []struct {
		name string
		crds controlplanetest.CRDs
		want []string
	}{
		{"directory", controlplanetest.CRDs{Paths: []string{"testdata/crds"}}, inTestdata},
		{"files", controlplanetest.CRDs{Paths: []string{"testdata/crds/widgets.yaml", "./testdata/crds/gadgets.json"}}, []string{"widgets.example.com", "gadgets.example.com"}},
		{"directory and a file in it", controlplanetest.CRDs{Paths: []string{"testdata/crds/", "testdata/crds/gadgets.json"}}, inTestdata},
		{"FS", controlplanetest.CRDs{FS: embedded}, inTestdata},
		{"directory in FS", controlplanetest.CRDs{FS: embedded, Paths: []string{"./testdata/crds/"}}, inTestdata},
		{"file in FS", controlplanetest.CRDs{FS: directory, Paths: []string{"gadgets.json"}}, []string{"gadgets.example.com"}},
		{"bytes", controlplanetest.CRDs{Manifests: [][]byte{widgets}}, []string{"widgets.example.com"}},
		{"Go values", controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{
			controlplanetest.NewCRD(schema.GroupVersionKind{Group: "other.example.com", Version: "v2", Kind: "Foo"}, "foos", apiextensionsv1.ClusterScoped),
		}}, []string{"foos.other.example.com"}},
	} {
		t.Run(source.name, func(t *testing.T) {
			objects = cp.InstallCRDs(t, source.crds)
			if got := namesOf(objects); !slices.Equal(got, source.want) {
				t.Errorf("installed %v, want %v", got, source.want)
			}
			for _, crd := range objects {
				served(t, cp, crd, true)
			}
			cp.UninstallCRDs(t, source.crds)
			for _, crd := range objects {
				served(t, cp, crd, false)
			}
			cp.UninstallCRDs(t, source.crds)
		})
	}
	// A second install of the same CRDs changes nothing.
	before := objects[0].DeepCopy()
	cp.InstallCRDs(t, controlplanetest.CRDs{Objects: objects})
	if objects[0].UID != before.UID || objects[0].ResourceVersion != before.ResourceVersion {
		t.Error("InstallCRDs changed its argument")
	}
}

// served requires each served version of crd to be listed and in discovery, or none, at
// the first try.
func served(t *testing.T, cp *controlplanetest.ControlPlane, crd *apiextensionsv1.CustomResourceDefinition, want bool) {
	t.Helper()
	client := dynamic.NewForConfigOrDie(cp.ClientConfig())
	_, lists, err := discovery.NewDiscoveryClientForConfigOrDie(cp.ClientConfig()).ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range crd.Spec.Versions {
		want := want && version.Served
		gvr := schema.GroupVersionResource{Group: crd.Spec.Group, Version: version.Name, Resource: crd.Spec.Names.Plural}
		if _, err := client.Resource(gvr).List(t.Context(), metav1.ListOptions{}); (err == nil) != want || !want && !apierrors.IsNotFound(err) {
			t.Errorf("list of %v: %v", gvr, err)
		}
		found := false
		for _, list := range lists {
			found = found || list.GroupVersion == gvr.GroupVersion().String() && slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == gvr.Resource })
		}
		if found != want {
			t.Errorf("%v in discovery: %v", gvr, found)
		}
	}
}

var widgetsV1 = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}

func widget(name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"name": name}, "spec": spec,
	}}
}

// TestCRDUpdate: another file of the same CRD updates it. The update is in effect at
// once. The repetitions would find a delay.
func TestCRDUpdate(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{CRDs: controlplanetest.CRDs{Paths: []string{"testdata/crds"}}})
	crds := clientset.NewForConfigOrDie(cp.ClientConfig()).ApiextensionsV1().CustomResourceDefinitions()
	crd, err := crds.Get(t.Context(), "widgets.example.com", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	crd.Labels = map[string]string{"of": "another"}
	if crd, err = crds.Update(t.Context(), crd, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	widgets := dynamic.NewForConfigOrDie(cp.ClientConfig()).Resource(widgetsV1).Namespace("default")
	for i := range 20 {
		wanted := crd.DeepCopy()
		wanted.Labels = nil
		field := fmt.Sprint("field", i)
		for v := range wanted.Spec.Versions {
			properties := wanted.Spec.Versions[v].Schema.OpenAPIV3Schema.Properties
			spec := properties["spec"]
			spec.Properties[field] = apiextensionsv1.JSONSchemaProps{Type: "string"}
			properties["spec"] = spec
		}
		wanted.Spec.Versions[2].Served = i%2 == 0
		got := cp.InstallCRDs(t, controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{wanted}})[0]
		if got.UID != crd.UID || got.Labels["of"] != "another" {
			t.Fatalf("the definition was not updated but replaced: %v", got.ObjectMeta)
		}
		served(t, cp, got, true)
		stored, err := widgets.Create(t.Context(), widget(field, map[string]any{field: "x"}), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if value, _, _ := unstructured.NestedString(stored.Object, "spec", field); value != "x" {
			t.Fatalf("update %d: the API server does not know the new field: %v", i, stored.Object["spec"])
		}
	}
}

// TestCRDsInParallel: tests install the same and other CRDs on one control plane.
func TestCRDsInParallel(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	for i := range 20 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			own := controlplanetest.NewCRD(schema.GroupVersionKind{Group: "parallel.example.com", Version: "v1", Kind: fmt.Sprint("Own", i)},
				fmt.Sprintf("own%ds", i), apiextensionsv1.NamespaceScoped)
			for _, crd := range cp.InstallCRDs(t, controlplanetest.CRDs{FS: embedded, Objects: []*apiextensionsv1.CustomResourceDefinition{own}}) {
				served(t, cp, crd, true)
			}
			cp.UninstallCRDs(t, controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{own}})
			served(t, cp, own, false)
		})
	}
}

// TestInstallAfterUninstall repeatedly installs the same name with another schema, with
// objects that are deleted with the CRD.
func TestInstallAfterUninstall(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	client := dynamic.NewForConfigOrDie(cp.ClientConfig())
	for i := range 5 {
		crd := controlplanetest.NewCRD(schema.GroupVersionKind{Group: "example.com", Version: fmt.Sprint("v", i+1), Kind: "Widget"}, "widgets", apiextensionsv1.NamespaceScoped)
		crds := controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{crd}}
		cp.InstallCRDs(t, crds)
		gvr := schema.GroupVersionResource{Group: "example.com", Version: fmt.Sprint("v", i+1), Resource: "widgets"}
		one := widget("one", map[string]any{})
		one.SetAPIVersion(gvr.GroupVersion().String())
		if _, err := client.Resource(gvr).Namespace("default").Create(t.Context(), one, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		cp.UninstallCRDs(t, crds)
	}
}
