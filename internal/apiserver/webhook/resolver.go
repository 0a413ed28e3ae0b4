// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package webhook finds the servers of webhooks and aggregated APIs.
package webhook

import (
	"fmt"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/apiserver/pkg/util/webhook"
	clientgoinformers "k8s.io/client-go/informers"
	corev1listers "k8s.io/client-go/listers/core/v1"
	aggregatorapiserver "k8s.io/kube-aggregator/pkg/apiserver"
)

// EndpointSlices returns a getter of the endpoints of Services. Webhooks, aggregated API
// servers and the proxy subresource of Services share its informer.
func EndpointSlices(factory clientgoinformers.SharedInformerFactory) (proxy.EndpointSliceGetter, error) {
	slices, err := proxy.NewEndpointSliceIndexerGetter(factory.Discovery().V1().EndpointSlices())
	if err != nil {
		return nil, fmt.Errorf("apiserver: endpoint slices: %w", err)
	}
	return slices, nil
}

// NewServiceResolver returns a resolver of the Services of webhooks and aggregated API
// servers. It resolves a Service to its endpoints, as kube-apiserver does with
// --enable-aggregator-routing: the process is rarely on the cluster's network, where
// cluster IPs work. loopback is the URL of the server itself, for the kubernetes Service.
func NewServiceResolver(services corev1listers.ServiceLister, slices proxy.EndpointSliceGetter, loopback string) (webhook.ServiceResolver, error) {
	local, err := url.Parse(loopback)
	if err != nil {
		return nil, fmt.Errorf("apiserver: loopback address: %w", err)
	}
	return aggregatorapiserver.NewLoopbackServiceResolver(&resolver{
		services:   services,
		toEndpoint: aggregatorapiserver.NewEndpointServiceResolver(services, slices),
		toService:  aggregatorapiserver.NewClusterIPServiceResolver(services),
	}, local), nil
}

// resolver resolves Services of type ExternalName, which have no endpoints, as
// kube-apiserver does without aggregator routing.
type resolver struct {
	services              corev1listers.ServiceLister
	toEndpoint, toService webhook.ServiceResolver
}

// ResolveEndpoint implements webhook.ServiceResolver.
func (r *resolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	service, err := r.services.Services(namespace).Get(name)
	if err == nil && service.Spec.Type == corev1.ServiceTypeExternalName {
		return r.toService.ResolveEndpoint(namespace, name, port)
	}
	return r.toEndpoint.ResolveEndpoint(namespace, name, port)
}
