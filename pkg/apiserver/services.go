package apiserver

import (
	"fmt"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/apiserver/pkg/util/webhook"
	corev1listers "k8s.io/client-go/listers/core/v1"
	aggregatorapiserver "k8s.io/kube-aggregator/pkg/apiserver"
)

// endpointSlices looks up the endpoints of Services for webhooks, aggregated API servers and
// the proxy subresource of Services, all in one informer.
func (g *generic) endpointSlices() (proxy.EndpointSliceGetter, error) {
	slices, err := proxy.NewEndpointSliceIndexerGetter(g.informers.Discovery().V1().EndpointSlices())
	if err != nil {
		return nil, fmt.Errorf("apiserver: endpoint slices: %w", err)
	}
	return slices, nil
}

// serviceResolver finds webhooks and aggregated servers behind Services. The
// process is seldom on the cluster's network, where a cluster IP means
// something, so that a Service is resolved to its endpoints, as kube-apiserver
// does with --enable-aggregator-routing.
func (g *generic) serviceResolver(slices proxy.EndpointSliceGetter) (webhook.ServiceResolver, error) {
	services := g.informers.Core().V1().Services().Lister()
	local, err := url.Parse(g.loopback.Host)
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

func (r *resolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	service, err := r.services.Services(namespace).Get(name)
	if err == nil && service.Spec.Type == corev1.ServiceTypeExternalName {
		return r.toService.ResolveEndpoint(namespace, name, port)
	}
	return r.toEndpoint.ResolveEndpoint(namespace, name, port)
}
