// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"github.com/kubembed/kubembed/internal/testwait"
)

const widgetSchema = `{
  "type": "object",
  "properties": {
    "spec": {
      "type": "object",
      "required": ["size"],
      "properties": {
        "size": {"type": "integer", "minimum": 1, "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "a widget does not shrink"}]},
        "colour": {"type": "string", "default": "red", "enum": ["red", "green"]}
      },
      "x-kubernetes-validations": [{"rule": "self.colour != 'green' || self.size < 100", "message": "no large green widgets"}]
    },
    "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}}
  }
}`

// widgets creates a CRD of widgets in a group of their own, in two versions, and waits
// until they are served.
func (p *plane) widgets(t testing.TB, group string) dynamic.NamespaceableResourceInterface {
	t.Helper()
	version := func(name string, stored bool) apiextensionsv1.CustomResourceDefinitionVersion {
		v := apiextensionsv1.CustomResourceDefinitionVersion{
			Name: name, Served: true, Storage: stored,
			Schema:       &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{}},
			Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
		}
		if err := json.Unmarshal([]byte(widgetSchema), v.Schema.OpenAPIV3Schema); err != nil {
			t.Fatal(err)
		}
		return v
	}
	client := apiextensionsclient.NewForConfigOrDie(p.ClientConfig()).ApiextensionsV1().CustomResourceDefinitions()
	crd := must(client.Create(t.Context(), &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets." + group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Scope: apiextensionsv1.NamespaceScoped,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", true), version("v1beta1", false)},
		},
	}, metav1.CreateOptions{}))(t)
	w := must(client.Watch(t.Context(), metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector("metadata.name", crd.Name).String(),
		ResourceVersion: crd.ResourceVersion,
	}))(t)
	defer w.Stop()
	for event := range w.ResultChan() {
		crd, ok := event.Object.(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			t.Fatalf("got event %v, want a CRD", event.Object)
		}
		for _, c := range crd.Status.Conditions {
			if c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue {
				return dynamic.NewForConfigOrDie(p.ClientConfig()).Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: "widgets"})
			}
		}
	}
	t.Fatal("the watch ended before the CRD was established")
	return nil
}

func widget(group, name string, size int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1", "kind": "Widget",
		"metadata": map[string]any{"name": name},
		"spec":     map[string]any{"size": size},
	}}
}

func TestCustomResource(t *testing.T) {
	const group = "crud.example.com"
	p := sharedPlane(t)
	ctx := t.Context()
	ns := p.namespace(t)
	widgets := p.widgets(t, group).Namespace(ns)

	w := must(widgets.Watch(ctx, metav1.ListOptions{}))(t)
	defer w.Stop()
	next := func(want watch.EventType) {
		t.Helper()
		if event := <-w.ResultChan(); event.Type != want {
			t.Errorf("got event %s %v, want %s", event.Type, event.Object, want)
		}
	}
	created := must(widgets.Create(ctx, widget(group, "one", 1), metav1.CreateOptions{}))(t)
	next(watch.Added)
	if colour, _, _ := unstructured.NestedString(created.Object, "spec", "colour"); colour != "red" {
		t.Errorf("got default colour %q, want red", colour)
	}
	updated := must(widgets.Patch(ctx, "one", types.MergePatchType, []byte(`{"spec":{"size":2},"status":{"ready":true}}`), metav1.PatchOptions{}))(t)
	next(watch.Modified)
	if _, found := updated.Object["status"]; found {
		t.Error("got a status from an update of the object, want none")
	}
	updated = must(widgets.Patch(ctx, "one", types.MergePatchType, []byte(`{"spec":{"size":9},"status":{"ready":true}}`), metav1.PatchOptions{}, "status"))(t)
	next(watch.Modified)
	size, _, _ := unstructured.NestedInt64(updated.Object, "spec", "size")
	if ready, _, _ := unstructured.NestedBool(updated.Object, "status", "ready"); size != 2 || !ready {
		t.Errorf("got %v after an update of the status, want size 2 and ready", updated.Object)
	}
	// Without conversion, the versions differ only in apiVersion.
	beta := p.get(t, "/apis/"+group+"/v1beta1/namespaces/"+ns+"/widgets/one").want(t, http.StatusOK)
	if !strings.Contains(beta.body, `"apiVersion":"`+group+`/v1beta1"`) || !strings.Contains(beta.body, `"size":2`) {
		t.Errorf("got %s in the other version, want the same object", beta.body)
	}
	if list := must(widgets.List(ctx, metav1.ListOptions{}))(t); len(list.Items) != 1 {
		t.Errorf("got %d widgets, want 1", len(list.Items))
	}
	if err := widgets.Delete(ctx, "one", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	next(watch.Deleted)
}

func TestCustomResourceValidation(t *testing.T) {
	const group = "validation.example.com"
	p := sharedPlane(t)
	ctx := t.Context()
	widgets := p.widgets(t, group).Namespace(p.namespace(t))
	invalid := func(what string, err error, why string) {
		t.Helper()
		if !apierrors.IsInvalid(err) || !contains(err, why) {
			t.Errorf("%s: got %v, want 422 with %q", what, err, why)
		}
	}
	_, err := widgets.Create(ctx, widget(group, "small", 0), metav1.CreateOptions{})
	invalid("schema", err, "should be greater than or equal to 1")
	blue := widget(group, "blue", 1)
	blue.Object["spec"].(map[string]any)["colour"] = "blue"
	_, err = widgets.Create(ctx, blue, metav1.CreateOptions{})
	invalid("enum", err, "Unsupported value")
	green := widget(group, "green", 100)
	green.Object["spec"].(map[string]any)["colour"] = "green"
	_, err = widgets.Create(ctx, green, metav1.CreateOptions{})
	invalid("CEL", err, "no large green widgets")
	must(widgets.Create(ctx, widget(group, "any", 5), metav1.CreateOptions{}))(t)
	_, err = widgets.Patch(ctx, "any", types.MergePatchType, []byte(`{"spec":{"size":4}}`), metav1.PatchOptions{})
	invalid("CEL over time", err, "a widget does not shrink")

	unknown := widget(group, "unknown", 1)
	unknown.Object["spec"].(map[string]any)["nonsense"] = "x"
	pruned := must(widgets.Create(ctx, unknown, metav1.CreateOptions{}))(t)
	if _, found, _ := unstructured.NestedString(pruned.Object, "spec", "nonsense"); found {
		t.Error("got the unknown field, want it pruned")
	}
	unknown.SetName("unknown-strict")
	_, err = widgets.Create(ctx, unknown, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if !apierrors.IsBadRequest(err) || !contains(err, `unknown field "spec.nonsense"`) {
		t.Errorf("got error %v, want one that names the unknown field", err)
	}
}

func TestCustomResourceInDiscovery(t *testing.T) {
	const group = "discovery.example.com"
	p := sharedPlane(t)
	p.widgets(t, group)
	testwait.Until(t, "discovery lists it", func(context.Context) error {
		_, err := p.admin().Discovery().ServerResourcesForGroupVersion(group + "/v1")
		return err
	})
	testwait.Until(t, "the list of groups has it", func(context.Context) error {
		if !strings.Contains(p.get(t, "/apis").body, `"name":"`+group+`"`) {
			return fmt.Errorf("the group is missing")
		}
		return nil
	})
	testwait.Until(t, "aggregated discovery lists it", func(context.Context) error {
		if !strings.Contains(p.get(t, "/apis", aggregatedDiscovery).body, `"name":"`+group+`"`) {
			return fmt.Errorf("the group is missing")
		}
		return nil
	})
	testwait.Until(t, "OpenAPI v3 describes it", func(context.Context) error {
		a := p.get(t, "/openapi/v3/apis/"+group+"/v1")
		if a.status != http.StatusOK || !strings.Contains(a.body, `"com.example.discovery.v1.Widget"`) || !strings.Contains(a.body, "colour") {
			return fmt.Errorf("got HTTP %d, want 200 with the schema: %.200s", a.status, a.body)
		}
		return nil
	})
	testwait.Until(t, "OpenAPI v2 describes it", func(context.Context) error {
		if a := p.get(t, "/openapi/v2"); a.status != http.StatusOK || !strings.Contains(a.body, `"com.example.discovery.v1.Widget"`) {
			return fmt.Errorf("got HTTP %d, want 200 with the schema", a.status)
		}
		return nil
	})
}

func TestDeletedCustomResourceDefinition(t *testing.T) {
	const group = "deleted.example.com"
	p := sharedPlane(t)
	ctx := t.Context()
	ns := p.namespace(t)
	widgets := p.widgets(t, group).Namespace(ns)
	must(widgets.Create(ctx, widget(group, "one", 1), metav1.CreateOptions{}))(t)
	client := apiextensionsclient.NewForConfigOrDie(p.ClientConfig()).ApiextensionsV1().CustomResourceDefinitions()
	if err := client.Delete(ctx, "widgets."+group, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "the path is gone", func(context.Context) error {
		if a := p.get(t, "/apis/"+group+"/v1/namespaces/"+ns+"/widgets"); a.status != http.StatusNotFound {
			return fmt.Errorf("got HTTP %d, want 404", a.status)
		}
		return nil
	})
	testwait.Until(t, "the group is gone", func(context.Context) error {
		if strings.Contains(p.get(t, "/apis").body, group) {
			return fmt.Errorf("the group is still listed")
		}
		return nil
	})
	// Its objects are deleted, too.
	objects, err := p.etcd.Client().Get(ctx, "/registry/"+group+"/widgets/"+ns+"/one")
	if err != nil || objects.Count != 0 {
		t.Errorf("got %d objects in etcd, error %v, want none", objects.Count, err)
	}
}
