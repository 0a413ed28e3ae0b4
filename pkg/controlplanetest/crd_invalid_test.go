// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

const notStructural = `apiVersion: v1
kind: Namespace
metadata: {name: other}
---
# The schema has no type.
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: broken.example.com}
spec:
  group: example.com
  scope: Everywhere
  names: {kind: Broken, plural: broken}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {properties: {spec: {}}}}}
`

// TestBadCRDs: one error has all problems, with the files to fix, and nothing is
// installed.
func TestBadCRDs(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	good, err := os.ReadFile("testdata/crds/widgets.yaml")
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("empty/README.md", "nothing")
	write("others/values.yaml", "replicas: 1\n")
	write("others/ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")
	unparsable := write("unparsable.yaml", "apiVersion: v1\nkind: Namespace\n---\na: b\nc: [\n---\nd: e\n")
	typed := write("typed.yaml", strings.Replace(string(good), "served: true", "served: sometimes", 1))
	beta := write("beta.yaml", strings.Replace(string(good), "apiextensions.k8s.io/v1", "apiextensions.k8s.io/v1beta1", 1))
	invalid := write("invalid.yaml", notStructural)
	foo := controlplanetest.NewCRD(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Foo"}, "foos", apiextensionsv1.ClusterScoped)
	other := foo.DeepCopy()
	other.Spec.Scope = apiextensionsv1.NamespaceScoped
	nameless := foo.DeepCopy()
	nameless.Name = ""

	for _, bad := range []struct {
		name string
		crds controlplanetest.CRDs
		want []string
	}{
		{"nothing", controlplanetest.CRDs{}, []string{"CRDs has no Paths, FS, Manifests or Objects"}},
		{"missing path", controlplanetest.CRDs{Paths: []string{"nowhere", "elsewhere"}}, []string{`CRDs.Paths[0] "nowhere"`, "no such file", `CRDs.Paths[1] "elsewhere"`}},
		{"missing path in FS", controlplanetest.CRDs{FS: fstest.MapFS{}, Paths: []string{"crds"}}, []string{`CRDs.Paths[0] "crds"`, "not exist"}},
		{"empty FS", controlplanetest.CRDs{FS: fstest.MapFS{}}, []string{"CRDs.FS", "no CustomResourceDefinition", "it has no .yaml"}},
		{"directory without files", controlplanetest.CRDs{Paths: []string{filepath.Join(directory, "empty")}}, []string{"empty", "no CustomResourceDefinition", ".yaml, .yml, .json"}},
		{"directory of others", controlplanetest.CRDs{Paths: []string{filepath.Join(directory, "others")}}, []string{"others", "no CustomResourceDefinition", "2 files"}},
		{"empty bytes", controlplanetest.CRDs{Manifests: [][]byte{good, []byte("# nothing\n")}}, []string{"CRDs.Manifests[1]", "no CustomResourceDefinition"}},
		{"no YAML", controlplanetest.CRDs{Paths: []string{unparsable}}, []string{unparsable + ", document 2", "line 5"}},
		{"type", controlplanetest.CRDs{Paths: []string{typed}}, []string{typed + `, document 2 (CustomResourceDefinition "widgets.example.com")`, "spec.versions.served", "bool"}},
		{"v1beta1", controlplanetest.CRDs{Paths: []string{beta}}, []string{beta + ", document 2", `"apiextensions.k8s.io/v1beta1"`, `convert it to "apiextensions.k8s.io/v1"`}},
		{"nil", controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{foo, nil}}, []string{"CRDs.Objects[1] is nil"}},
		{"without a name", controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{nameless}}, []string{"CRDs.Objects[0]", "metadata.name"}},
		{"twice", controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{foo, foo, other}}, []string{`CRDs.Objects[2] (CustomResourceDefinition "foos.example.com"): differs from CRDs.Objects[0]`}},
		{"invalid", controlplanetest.CRDs{Paths: []string{invalid}}, []string{invalid + `, document 2 (CustomResourceDefinition "broken.example.com")`, "spec.scope", "Everywhere", "type: Required"}},
		{"one of several", controlplanetest.CRDs{Paths: []string{"testdata/crds", invalid}}, []string{invalid, "spec.scope"}},
		{"many", controlplanetest.CRDs{
			Paths: []string{"testdata/crds", invalid, beta, "nowhere"}, Manifests: [][]byte{[]byte("a: [")},
			Objects: []*apiextensionsv1.CustomResourceDefinition{foo, nameless},
		}, []string{"spec.scope", "v1beta1", "nowhere", "CRDs.Manifests[0]", "CRDs.Objects[1]"}},
	} {
		t.Run(bad.name, func(t *testing.T) {
			var r recorder
			r.run(func(t controlplanetest.TB) { cp.InstallCRDs(t, bad.crds) })
			if !r.failed {
				t.Fatal("it did not fail")
			}
			for _, want := range append(bad.want, "controlplanetest: install CRDs: ") {
				if !strings.Contains(r.text(), want) {
					t.Errorf("no %q in:\n%s", want, r.text())
				}
			}
			t.Log(r.text())
		})
	}
	installed, err := clientset.NewForConfigOrDie(cp.ClientConfig()).ApiextensionsV1().CustomResourceDefinitions().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(installed.Items) > 0 {
		t.Errorf("%d definitions are installed: %v", len(installed.Items), err)
	}
	cp.InstallCRDs(t, controlplanetest.CRDs{Paths: []string{"testdata/crds"}})
}

// TestRefusedCRDsChangeNothing: if the API server refuses one CRD, existing CRDs stay
// as they are, and no new one stays.
func TestRefusedCRDsChangeNothing(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	kind := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Foo"}
	foo := controlplanetest.NewCRD(kind, "foos", apiextensionsv1.ClusterScoped)
	kind.Kind = "Baz"
	baz := controlplanetest.NewCRD(kind, "bazs", apiextensionsv1.ClusterScoped)
	before := cp.InstallCRDs(t, controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{baz, foo}})
	foo.Labels = map[string]string{"changed": "yes"}
	kind.Kind = "Bar"
	bar := controlplanetest.NewCRD(kind, "bars", apiextensionsv1.ClusterScoped)
	crds := clientset.NewForConfigOrDie(cp.ClientConfig()).ApiextensionsV1().CustomResourceDefinitions()
	unchanged := func() {
		t.Helper()
		all, err := crds.List(t.Context(), metav1.ListOptions{})
		if err != nil || len(all.Items) != 2 {
			t.Fatalf("%d definitions, not 2: %v", len(all.Items), err)
		}
		for i, crd := range all.Items {
			if crd.ResourceVersion != before[i].ResourceVersion {
				t.Errorf("%s was changed", crd.Name)
			}
		}
	}
	refused := func(objects ...*apiextensionsv1.CustomResourceDefinition) {
		t.Helper()
		var r recorder
		r.run(func(t controlplanetest.TB) { cp.InstallCRDs(t, controlplanetest.CRDs{Objects: objects}) })
		if !r.failed {
			t.Fatal("it did not fail")
		}
		unchanged()
	}
	// One new CRD, and one that exists.
	badNew := controlplanetest.NewCRD(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Broken"}, "broken", "Everywhere")
	refused(foo, bar, badNew)
	badUpdate := baz.DeepCopy()
	badUpdate.Spec.Scope = apiextensionsv1.NamespaceScoped // immutable
	refused(foo, bar, badUpdate)
}

// TestCRDNameConflict: a valid CRD that cannot be served. The message has the reason,
// and the CRDs that were installed.
func TestCRDNameConflict(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	kind := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Foo"}
	foo := controlplanetest.NewCRD(kind, "foos", apiextensionsv1.ClusterScoped)
	cp.InstallCRDs(t, controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{foo}})
	kind.Kind = "Bar"
	bar := controlplanetest.NewCRD(kind, "bars", apiextensionsv1.ClusterScoped)
	second := controlplanetest.NewCRD(kind, "seconds", apiextensionsv1.ClusterScoped)
	second.Spec.Names.ShortNames = []string{"foo"}
	second.Spec.Names.Kind = "Foo"
	var r recorder
	r.run(func(t controlplanetest.TB) {
		cp.InstallCRDs(t, controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{bar, second}})
	})
	if !r.failed {
		t.Fatal("it did not fail")
	}
	for _, want := range []string{"CRDs.Objects[1]", "seconds.example.com", "NamesAccepted", "already in use", "another CRD has one of its names", "installed are: bars.example.com"} {
		if !strings.Contains(r.text(), want) {
			t.Errorf("no %q in:\n%s", want, r.text())
		}
	}
}

// TestBadConfiguredCRDs: invalid CRDs of Config fail the start.
func TestBadConfiguredCRDs(t *testing.T) {
	t.Parallel()
	var r recorder
	r.run(func(t controlplanetest.TB) {
		controlplanetest.New(t, controlplanetest.Config{CRDs: controlplanetest.CRDs{Paths: []string{"nowhere"}}})
	})
	if !r.failed || !strings.Contains(r.text(), "nowhere") {
		t.Errorf("failed %v: %s", r.failed, r.text())
	}
}
