// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"net/http"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	apiextensionsoptions "k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/notfoundhandler"
	"k8s.io/apiserver/pkg/util/webhook"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	apiregistrationv1beta1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1beta1"
	aggregatorapiserver "k8s.io/kube-aggregator/pkg/apiserver"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"

	"github.com/kubembed/kubembed/internal/apiserver/bootstrap"
	"github.com/kubembed/kubembed/internal/apiserver/coordination"
	"github.com/kubembed/kubembed/internal/apiserver/crd"
	"github.com/kubembed/kubembed/internal/apiserver/openapi"
	"github.com/kubembed/kubembed/internal/apiserver/runtimeconfig"
	webhookbackend "github.com/kubembed/kubembed/internal/apiserver/webhook"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// chain assembles aggregator → built-in APIs → custom resources → not found, like
// k8s.io/kubernetes/cmd/kube-apiserver/app.CreateServerChain.
func (s *Server) chain(g *generic) (_ *aggregatorapiserver.APIAggregator, err error) {
	slices, err := webhookbackend.EndpointSlices(g.informers)
	if err != nil {
		return nil, err
	}
	services, err := webhookbackend.NewServiceResolver(g.informers.Core().V1().Services().Lister(), slices, g.loopback.Host)
	if err != nil {
		return nil, err
	}
	// Administrators register webhooks and API servers, also on this machine.
	webhooks := controlplaneapiserver.CreateProxyTransport()
	s.resources.Push("apiserver: connections to webhooks", func(context.Context) error { webhooks.CloseIdleConnections(); return nil })
	kube, err := g.kubeConfig(services, webhooks)
	if err != nil {
		return nil, err
	}
	kube.ControlPlane.Extra.EndpointSliceGetter = slices
	base := *g.server
	g.server.SkipOpenAPIInstallation = true // openapi.InstallLazy serves it
	extensionsConfig, err := g.extensionsConfig(base, services, webhooks)
	if err != nil {
		return nil, err
	}
	aggregatorConfig, err := g.aggregatorConfig(base, services, webhooks)
	if err != nil {
		return nil, err
	}

	extensions, err := g.extensions(extensionsConfig)
	if err != nil {
		return nil, err
	}
	s.extensions = extensions
	destroy := extensions.GenericAPIServer.Destroy // of the servers so far
	s.resources.Push("apiserver: storage", func(context.Context) error { destroy(); return nil })
	// Before the storage, which their handlers use.
	s.resources.Push("apiserver: informers", func(context.Context) error { s.generic.informers.Shutdown(); return nil })
	builtin, err := g.builtin(kube, extensions.GenericAPIServer)
	if err != nil {
		return nil, fmt.Errorf("apiserver: built-in APIs: %w", err)
	}
	destroy = builtin.GenericAPIServer.Destroy
	s.builtinPaths = builtin.GenericAPIServer.ListedPaths()
	if err := openapi.InstallLazy(builtin.GenericAPIServer, g.server.OpenAPIConfig, g.server.OpenAPIV3Config); err != nil {
		return nil, fmt.Errorf("apiserver: OpenAPI: %w", err)
	}
	// Before the built-in APIs and custom resources, after the aggregator's proxy.
	builtin.GenericAPIServer.Handler.Director = g.limits.Filter(builtin.GenericAPIServer.Handler.Director)
	crds := apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")
	aggregator, err := controlplaneapiserver.CreateAggregatorServer(
		aggregatorConfig.Complete(),
		builtin.GenericAPIServer,
		extensions.Informers.Apiextensions().V1().CustomResourceDefinitions(),
		extensionsConfig.GenericConfig.MergedResourceConfig.ResourceEnabled(crds),
		bootstrap.GroupPriorities(),
	)
	if err != nil {
		return nil, fmt.Errorf("apiserver: aggregator: %w", err)
	}
	destroy = aggregator.GenericAPIServer.Destroy
	return aggregator, nil
}

// extensions returns the server of custom resources, the last one of the chain.
func (g *generic) extensions(config *apiextensionsapiserver.Config) (*apiextensionsapiserver.CustomResourceDefinitions, error) {
	notFound := notfoundhandler.New(g.server.Serializer, func(ctx context.Context) bool {
		return ctx.Value(discoveryIncomplete{}) == nil
	})
	server, err := config.Complete().New(genericapiserver.NewEmptyDelegateWithCustomHandler(notFound))
	if err != nil {
		return nil, fmt.Errorf("apiserver: custom resource server: %w", err)
	}
	handler := server.GenericAPIServer.Handler
	g.storages.Find(handler.NonGoRestfulMux, server.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister())
	g.acknowledged.SetInForce(crd.Resource, g.storages.InForce)
	if err := crd.WithoutCreateDelay(server.Informers, g.config.Shared); err != nil {
		server.GenericAPIServer.Destroy()
		return nil, fmt.Errorf("apiserver: custom resources: %w", err)
	}
	handler.Director = g.acknowledged.CustomResources(handler.Director)
	return server, nil
}

// extensionsConfig returns the configuration of the server of custom resources.
func (g *generic) extensionsConfig(base genericapiserver.Config, services webhook.ServiceResolver, webhooks *http.Transport) (_ *apiextensionsapiserver.Config, err error) {
	// Upstream stores CRDs as v1beta1, which is more compact than v1
	// (https://issue.k8s.io/82292).
	versioner := runtime.NewMultiGroupVersioner(apiextensionsv1beta1.SchemeGroupVersion, schema.GroupKind{Group: apiextensionsv1beta1.GroupName})
	codec := apiextensionsapiserver.Codecs.LegacyCodec(apiextensionsv1beta1.SchemeGroupVersion, apiextensionsv1.SchemeGroupVersion)
	c, etcd := g.derive(base, codec, versioner)
	openapi.UseExtensionsDefinitions(&c)
	if c.MergedResourceConfig, err = runtimeconfig.Extensions(g.config.RuntimeConfig); err != nil {
		return nil, fieldpath.New("apiserver", "Config.RuntimeConfig", "%w", err)
	}
	return &apiextensionsapiserver.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: c, SharedInformerFactory: g.informers},
		ExtraConfig: apiextensionsapiserver.ExtraConfig{
			CRDRESTOptionsGetter: crd.MarkUses(g.backend.RESTOptionsGetter(
				apiextensionsoptions.NewCRDRESTOptionsGetter(*etcd, c.ResourceTransformers, c.StorageObjectCountTracker), nil), &g.uses),
			MasterCount: coordination.ServerCount(g.config.Shared),
			AuthResolverWrapper: webhook.NewDefaultAuthenticationInfoResolverWrapper(
				webhooks, nil, g.loopback, c.TracerProvider),
			ServiceResolver: services,
		},
	}, nil
}

// frontProxyClient is the identity with which the server calls aggregated API servers,
// and the only identity whose headers about users it accepts.
const frontProxyClient = "front-proxy-client"

// aggregatorConfig returns the configuration of the server in front, which also proxies
// to aggregated API servers.
func (g *generic) aggregatorConfig(base genericapiserver.Config, services webhook.ServiceResolver, webhooks *http.Transport) (_ *aggregatorapiserver.Config, err error) {
	versioner := runtime.NewMultiGroupVersioner(apiregistrationv1.SchemeGroupVersion, schema.GroupKind{Group: apiregistrationv1beta1.GroupName})
	codec := aggregatorscheme.Codecs.LegacyCodec(apiregistrationv1.SchemeGroupVersion, apiregistrationv1beta1.SchemeGroupVersion)
	c, _ := g.derive(base, codec, versioner)
	openapi.UseAggregatorDefinitions(&c)
	// The aggregator serves the merged OpenAPI document itself.
	c.SkipOpenAPIInstallation = true
	// It only decodes APIServices.
	chain := c.BuildHandlerChainFunc
	c.BuildHandlerChainFunc = func(api http.Handler, c *genericapiserver.Config) http.Handler {
		return chain(g.limits.FilterGroup(apiregistrationv1.GroupName, api), c)
	}
	if c.MergedResourceConfig, err = runtimeconfig.Aggregator(); err != nil {
		return nil, fmt.Errorf("apiserver: aggregator: %w", err)
	}
	cert, key, err := writeKeyPair(g.config.Dir, frontProxyClient, g.config.PKI.FrontProxyClient())
	if err != nil {
		return nil, err
	}
	return &aggregatorapiserver.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: c, SharedInformerFactory: g.informers},
		ExtraConfig: aggregatorapiserver.ExtraConfig{
			ProxyClientCertFile:       cert,
			ProxyClientKeyFile:        key,
			ServiceResolver:           services,
			ProxyTransport:            webhooks,
			RejectForwardingRedirects: true,
		},
	}, nil
}
