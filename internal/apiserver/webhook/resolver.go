// Package webhook finds webhooks and aggregated API servers.
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

// EndpointSlices looks up the endpoints of Services for webhooks, aggregated API servers and
// the proxy subresource of Services, all in one informer.
func EndpointSlices(factory clientgoinformers.SharedInformerFactory) (proxy.EndpointSliceGetter, error) {
	slices, err := proxy.NewEndpointSliceIndexerGetter(factory.Discovery().V1().EndpointSlices())
	if err != nil {
		return nil, fmt.Errorf("apiserver: endpoint slices: %w", err)
	}
	return slices, nil
}

// NewServiceResolver finds webhooks and aggregated servers behind Services. The
// process is seldom on the cluster's network, where a cluster IP means
// something, so that a Service is resolved to its endpoints, as kube-apiserver
// does with --enable-aggregator-routing.
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

// resolver sends an ExternalName, which has no endpoints, the way that
// kube-apiserver goes without aggregator routing.
type resolver struct {
	services              corev1listers.ServiceLister
	toEndpoint, toService webhook.ServiceResolver
}

// ResolveEndpoint is webhook.ServiceResolver.
func (r *resolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	service, err := r.services.Services(namespace).Get(name)
	if err == nil && service.Spec.Type == corev1.ServiceTypeExternalName {
		return r.toService.ResolveEndpoint(namespace, name, port)
	}
	return r.toEndpoint.ResolveEndpoint(namespace, name, port)
}
