// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"slices"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/apiserver/webhook"
)

// TestHosts verifies that Hosts returns the DNS names in the URLs of all kinds of
// webhooks, without IP addresses, and lists no resource that is not served.
func TestHosts(t *testing.T) {
	t.Parallel()
	validating := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "v"}}
	for _, url := range []string{"https://validating.example.com/x", "https://192.0.2.1:8443", "https://[2001:db8::1]/"} {
		validating.Webhooks = append(validating.Webhooks, admissionregistrationv1.ValidatingWebhook{
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: new(url)},
		})
	}
	mutating := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "m"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{
			{ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: new("https://mutating.example.com:8443")}},
			{ClientConfig: admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Name: "s"}}},
		},
	}
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"}}
	crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook:  &apiextensionsv1.WebhookConversion{ClientConfig: &apiextensionsv1.WebhookClientConfig{URL: new("https://conversion.example.com")}},
	}
	crds := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	if err := crds.Add(crd); err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset(validating, mutating).AdmissionregistrationV1()
	for serves, want := range map[bool][]string{
		true:  {"validating.example.com", "mutating.example.com", "conversion.example.com"},
		false: {"conversion.example.com"},
	} {
		got, err := webhook.Hosts(t.Context(), client, func(schema.GroupVersionResource) bool { return serves }, listers.NewCustomResourceDefinitionLister(crds))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("served %t: got %q, %v; want %q", serves, got, err, want)
		}
	}
}
