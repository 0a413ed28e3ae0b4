// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"net/netip"
	"net/url"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	admissionregistrationv1client "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
)

// Hosts returns the DNS names in the URLs of webhooks. It leaves IP addresses out: a
// webhook may be on a node, which needs a certificate for its address as a kubelet.
func Hosts(ctx context.Context, admission admissionregistrationv1client.AdmissionregistrationV1Interface, serves func(schema.GroupVersionResource) bool, lister listers.CustomResourceDefinitionLister) (hosts []string, err error) {
	add := func(at *string) {
		if at == nil {
			return
		}
		u, err := url.Parse(*at)
		if err != nil || u.Hostname() == "" {
			return
		}
		if _, err := netip.ParseAddr(u.Hostname()); err != nil {
			hosts = append(hosts, u.Hostname())
		}
	}
	if serves(admissionregistrationv1.SchemeGroupVersion.WithResource("validatingwebhookconfigurations")) {
		all, err := admission.ValidatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for i := range all.Items {
			for j := range all.Items[i].Webhooks {
				add(all.Items[i].Webhooks[j].ClientConfig.URL)
			}
		}
	}
	if serves(admissionregistrationv1.SchemeGroupVersion.WithResource("mutatingwebhookconfigurations")) {
		all, err := admission.MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for i := range all.Items {
			for j := range all.Items[i].Webhooks {
				add(all.Items[i].Webhooks[j].ClientConfig.URL)
			}
		}
	}
	crds, err := lister.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	for _, crd := range crds {
		if c := crd.Spec.Conversion; c != nil && c.Strategy == apiextensionsv1.WebhookConverter && c.Webhook != nil && c.Webhook.ClientConfig != nil {
			add(c.Webhook.ClientConfig.URL)
		}
	}
	return hosts, nil
}
