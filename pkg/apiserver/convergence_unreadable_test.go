// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/internal/testwait"
)

// TestWaitForUnreadableParameters verifies that WaitForStored and WaitForInformers do not
// wait forever for parameters that cannot be converted, because the webhook of their CRD
// does not answer.
func TestWaitForUnreadableParameters(t *testing.T) {
	t.Parallel()
	const group = "unreadable.example.com"
	p := startPlane(t)
	widgets := p.widgets(t, group)
	namespace := p.namespace(t)
	apply := func(size int64) stored {
		must(widgets.Namespace(namespace).Apply(t.Context(), paramName, widget(group, paramName, size), metav1.ApplyOptions{FieldManager: "test"}))(t)
		return p.save(t, namespace+"/"+paramName, group+"/widgets/")
	}
	first := apply(1)
	second := apply(2)
	crds := apiextensionsclient.NewForConfigOrDie(p.ClientConfig()).ApiextensionsV1().CustomResourceDefinitions()
	testwait.Until(t, "the CRD is changed", func(context.Context) error {
		crd := must(crds.Get(t.Context(), "widgets."+group, metav1.GetOptions{}))(t)
		crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
			ClientConfig:             &apiextensionsv1.WebhookClientConfig{URL: new("https://127.0.0.1:1/convert"), CABundle: p.pki.CABundle()},
			ConversionReviewVersions: []string{"v1"},
		}}
		_, err := crds.Update(t.Context(), crd, metav1.UpdateOptions{})
		return err
	})
	p.createParameterized(t, admissionregistrationv1.ParamKind{APIVersion: group + "/v1beta1", Kind: "Widget"}, "params.spec.size == 1", namespace)
	policy := p.save(t, namespace, "validatingadmissionpolicies", "validatingadmissionpolicybindings")
	if err := p.WaitForStored(t.Context(), p.write(t, policy, nil)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testwait.Timeout)
	defer cancel()
	if err := p.WaitForStored(ctx, append(p.write(t, first, nil), p.write(t, second, nil)...)); err != nil {
		t.Error(err)
	}
	changed := must(widgets.Namespace(namespace).Get(t.Context(), paramName, metav1.GetOptions{}))(t)
	ctx, cancel = context.WithTimeout(t.Context(), testwait.Timeout)
	defer cancel()
	if err := p.WaitForInformers(ctx, schema.GroupResource{Group: group, Resource: "widgets"}, changed.GetResourceVersion()); err != nil {
		t.Error(err)
	}
}
