// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// converter renames spec.host (v1) to spec.hostname (v2) and back, and adds its mark.
func converter(mark string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var review apiextensionsv1.ConversionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		response := &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
		for _, raw := range review.Request.Objects {
			var object unstructured.Unstructured
			if err := json.Unmarshal(raw.Raw, &object.Object); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			from, to := "host", "hostname"
			if review.Request.DesiredAPIVersion == "conv.example.com/v1" {
				from, to = to, from
			}
			value, _, _ := unstructured.NestedString(object.Object, "spec", from)
			_ = unstructured.SetNestedMap(object.Object, map[string]any{to: value, "by": mark}, "spec")
			object.SetAPIVersion(review.Request.DesiredAPIVersion)
			response.ConvertedObjects = append(response.ConvertedObjects, runtime.RawExtension{Object: &object})
		}
		review.Request, review.Response = nil, response
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}
}

// twoVersions returns a CRD with two versions. v2 is stored.
func twoVersions(plural, kind string) *apiextensionsv1.CustomResourceDefinition {
	crd := controlplanetest.NewCRD(schema.GroupVersionKind{Group: "conv.example.com", Version: "v1", Kind: kind}, plural, apiextensionsv1.ClusterScoped)
	v2 := crd.Spec.Versions[0].DeepCopy()
	v2.Name = "v2"
	crd.Spec.Versions[0].Storage = false
	crd.Spec.Versions = append(crd.Spec.Versions, *v2)
	return crd
}

func TestConversion(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	path := "/my-convert"
	asks := twoVersions("asks", "Ask")
	asks.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook: &apiextensionsv1.WebhookConversion{
			ConversionReviewVersions: []string{"v1"},
			ClientConfig:             &apiextensionsv1.WebhookClientConfig{Service: &apiextensionsv1.ServiceReference{Namespace: "system", Name: "any", Path: &path}},
		},
	}
	cp.InstallCRDs(t, controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{
		twoVersions("nameds", "Named"), asks, twoVersions("others", "Other"),
	}})
	client := dynamic.NewForConfigOrDie(cp.ClientConfig())
	create := func(plural, kind string) {
		t.Helper()
		if _, err := client.Resource(schema.GroupVersionResource{Group: "conv.example.com", Version: "v2", Resource: plural}).Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "conv.example.com/v2", "kind": kind,
			"metadata": map[string]any{"name": "one"}, "spec": map[string]any{"hostname": "a"},
		}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("nameds", "Named")
	create("asks", "Ask")
	create("others", "Other")
	get := func(t *testing.T, plural string) map[string]any {
		t.Helper()
		object, err := client.Resource(schema.GroupVersionResource{Group: "conv.example.com", Version: "v1", Resource: plural}).Get(t.Context(), "one", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		spec, _, _ := unstructured.NestedMap(object.Object, "spec")
		return spec
	}
	// The conversion is in effect when InstallWebhooks returns, and no longer when the
	// test has ended.
	for i := range 10 {
		mark := fmt.Sprintf("test %d", i)
		t.Run(mark, func(t *testing.T) {
			if spec := get(t, "nameds"); spec["hostname"] != "a" {
				t.Errorf("before: %v", spec)
			}
			mux := http.NewServeMux()
			mux.Handle("/convert", converter(mark))
			mux.Handle(path, converter("asked "+mark))
			cp.InstallWebhooks(t, controlplanetest.Webhooks{Conversion: []string{"nameds.conv.example.com"}, Handler: mux})
			if spec := get(t, "nameds"); spec["host"] != "a" || spec["by"] != mark {
				t.Errorf("named: %v", spec)
			}
			if spec := get(t, "asks"); spec["host"] != "a" || spec["by"] != "asked "+mark {
				t.Errorf("asks for it: %v", spec)
			}
			if spec := get(t, "others"); spec["hostname"] != "a" {
				t.Errorf("not asked for: %v", spec)
			}
		})
	}
	crds, err := clientset.NewForConfigOrDie(cp.ClientConfig()).ApiextensionsV1().CustomResourceDefinitions().Get(t.Context(), "asks.conv.example.com", metav1.GetOptions{})
	if err != nil || crds.Spec.Conversion.Webhook.ClientConfig.Service == nil {
		t.Errorf("afterwards: %v, %v", crds.Spec.Conversion, err)
	}
}

// TestConversionIsKept: a test that installs the CRDs again keeps the conversion of the
// control plane.
func TestConversionIsKept(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	crds := controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{twoVersions("nameds", "Named")}}
	cp.InstallCRDs(t, crds)
	cp.InstallWebhooks(t, controlplanetest.Webhooks{Conversion: []string{"nameds.conv.example.com"}, Handler: converter("it")})
	again := cp.InstallCRDs(t, crds)
	if conversion := again[0].Spec.Conversion; conversion == nil || conversion.Strategy != apiextensionsv1.WebhookConverter {
		t.Errorf("conversion %v", conversion)
	}
	other := recorder{name: "TestOther"}
	other.run(func(t controlplanetest.TB) {
		cp.InstallWebhooks(t, controlplanetest.Webhooks{Conversion: []string{"nameds.conv.example.com"}, Handler: converter("other")})
	})
	if !other.failed {
		t.Error("two servers for one conversion")
	}
	for _, want := range []string{"nameds.conv.example.com", t.Name(), "Config.Webhooks"} {
		wantError(t, fmt.Errorf("%s", other.text()), want)
	}
}

// TestConversionOfUnknown: the message has the unknown name, and the installed ones.
func TestConversionOfUnknown(t *testing.T) {
	t.Parallel()
	cp := controlplanetest.New(t, controlplanetest.Config{})
	cp.InstallCRDs(t, controlplanetest.CRDs{Objects: []*apiextensionsv1.CustomResourceDefinition{twoVersions("nameds", "Named")}})
	var r recorder
	r.run(func(t controlplanetest.TB) {
		cp.InstallWebhooks(t, controlplanetest.Webhooks{Conversion: []string{"nameds.conv.example.com", "named"}, Handler: converter("it")})
	})
	if !r.failed {
		t.Error("it did not fail")
	}
	for _, want := range []string{`Webhooks.Conversion[1]`, `"named"`, "nameds.conv.example.com"} {
		wantError(t, fmt.Errorf("%s", r.text()), want)
	}
}
