// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// largeSchema has so many properties that upstream takes long to make the storage of its
// CRD.
const largeSchema = 300

// TestCustomResourcesAreServedByTheNewCRD verifies that the new CRD serves the request
// after its update, and the request after WaitForInformers. Upstream drops the old
// storage later than its informer sees the update, and not while it makes another
// storage. The old CRD served requests until then.
func TestCustomResourcesAreServedByTheNewCRD(t *testing.T) {
	t.Parallel()
	const group = "served.example.com"
	p := startPlane(t)
	crds := apiextensionsclient.NewForConfigOrDie(p.ClientConfig()).ApiextensionsV1().CustomResourceDefinitions()
	widgets := p.widgets(t, group).Namespace("default")
	large := p.widgets(t, "large."+group).Namespace("default")
	update := func(t *testing.T, group string, change func(map[string]apiextensionsv1.JSONSchemaProps)) *apiextensionsv1.CustomResourceDefinition {
		t.Helper()
		for {
			crd := must(crds.Get(t.Context(), "widgets."+group, metav1.GetOptions{}))(t)
			for i := range crd.Spec.Versions {
				change(crd.Spec.Versions[i].Schema.OpenAPIV3Schema.Properties["spec"].Properties)
			}
			if updated, err := crds.Update(t.Context(), crd, metav1.UpdateOptions{}); err == nil {
				return updated
			}
		}
	}
	update(t, "large."+group, func(properties map[string]apiextensionsv1.JSONSchemaProps) {
		for i := range largeSchema {
			properties[fmt.Sprintf("property%d", i)] = apiextensionsv1.JSONSchemaProps{Type: "string", Pattern: fmt.Sprintf("^[a-z]{1,%d}$", i%9+1)}
		}
	})
	// change sets another maximum of sizes.
	maximum := int64(10)
	change := func(properties map[string]apiextensionsv1.JSONSchemaProps) {
		size, limit := properties["size"], float64(maximum)
		size.Maximum = &limit
		properties["size"] = size
	}
	describe := func(properties map[string]apiextensionsv1.JSONSchemaProps) {
		size := properties["size"]
		size.Description += "."
		properties["size"] = size
	}
	// begin starts to make the storage of the large CRD, and returns a function that
	// waits for it.
	begin := func(t *testing.T) (end func()) {
		t.Helper()
		update(t, "large."+group, describe)
		done := make(chan error, 1)
		go func() {
			_, err := large.List(context.WithoutCancel(t.Context()), metav1.ListOptions{Limit: 1})
			done <- err
		}()
		return func() {
			t.Helper()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	for name, test := range map[string]struct {
		group  string
		client dynamic.ResourceInterface
		wait   bool
		rounds int
	}{
		"while another storage is made":            {group: group, client: widgets, rounds: 3},
		"while its storage is made":                {group: "large." + group, client: large, rounds: 1},
		"while another storage is made, and waits": {group: group, client: widgets, wait: true, rounds: 2},
		"while its storage is made, and waits":     {group: "large." + group, client: large, wait: true, rounds: 1},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := test.client.List(t.Context(), metav1.ListOptions{Limit: 1}); err != nil {
				t.Fatal(err)
			}
			for round := range test.rounds {
				end := begin(t)
				maximum++
				updated := update(t, test.group, change)
				if test.wait {
					if err := p.WaitForInformers(t.Context(), schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}, updated.ResourceVersion); err != nil {
						t.Fatal(err)
					}
				}
				begun := time.Now()
				_, largest := test.client.Create(t.Context(), widget(test.group, "w", maximum), dryRun)
				_, larger := test.client.Create(t.Context(), widget(test.group, "w", maximum+1), dryRun)
				// Requests wait for at most a second, which may be too short on a busy
				// machine.
				waited := test.wait || time.Since(begun) < time.Second
				if waited && (largest != nil || larger == nil) {
					t.Errorf("round %d: size %d: got %v, want success; size %d: got %v, want an error", round, maximum, largest, maximum+1, larger)
				}
				end()
			}
		})
	}
}
