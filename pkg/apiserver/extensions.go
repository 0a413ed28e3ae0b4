// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	apiextensionsoptions "k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/notfoundhandler"

	"github.com/kubembed/kubembed/internal/apiserver/coordination"
	"github.com/kubembed/kubembed/internal/apiserver/crd"
	"github.com/kubembed/kubembed/internal/apiserver/openapi"
	"github.com/kubembed/kubembed/internal/apiserver/runtimeconfig"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// newExtensions returns the server of custom resources, the last one of the chain.
func newExtensions(e *environment, config *apiextensionsapiserver.Config) (*apiextensionsapiserver.CustomResourceDefinitions, error) {
	notFound := notfoundhandler.New(config.GenericConfig.Serializer, func(ctx context.Context) bool {
		return ctx.Value(discoveryIncomplete{}) == nil
	})
	server, err := config.Complete().New(genericapiserver.NewEmptyDelegateWithCustomHandler(notFound))
	if err != nil {
		return nil, fmt.Errorf("apiserver: custom resource server: %w", err)
	}
	handler := server.GenericAPIServer.Handler
	e.storages.Find(handler.NonGoRestfulMux, server.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister())
	e.acknowledged.SetInForce(crd.Resource, e.storages.InForce)
	if err := crd.WithoutCreateDelay(server.Informers, e.config.Shared); err != nil {
		server.GenericAPIServer.Destroy()
		return nil, fmt.Errorf("apiserver: custom resources: %w", err)
	}
	handler.Director = e.acknowledged.CustomResources(handler.Director)
	return server, nil
}

// extensionsConfig returns the configuration of the server of custom resources.
func extensionsConfig(e *environment, base genericapiserver.Config, stored storageConfig, w webhooks) (_ *apiextensionsapiserver.Config, err error) {
	// Upstream stores CRDs as v1beta1, which is more compact than v1
	// (https://issue.k8s.io/82292).
	versioner := runtime.NewMultiGroupVersioner(apiextensionsv1beta1.SchemeGroupVersion, schema.GroupKind{Group: apiextensionsv1beta1.GroupName})
	codec := apiextensionsapiserver.Codecs.LegacyCodec(apiextensionsv1beta1.SchemeGroupVersion, apiextensionsv1.SchemeGroupVersion)
	c, etcd := stored.derive(e, base, codec, versioner)
	openapi.UseExtensionsDefinitions(&c)
	if c.MergedResourceConfig, err = runtimeconfig.Extensions(e.config.RuntimeConfig); err != nil {
		return nil, fieldpath.New("apiserver", "Config.RuntimeConfig", "%w", err)
	}
	return &apiextensionsapiserver.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: c, SharedInformerFactory: e.sharedInformers},
		ExtraConfig: apiextensionsapiserver.ExtraConfig{
			CRDRESTOptionsGetter: crd.MarkUses(e.backend.RESTOptionsGetter(
				apiextensionsoptions.NewCRDRESTOptionsGetter(*etcd, c.ResourceTransformers, c.StorageObjectCountTracker), nil), &e.uses),
			MasterCount:         coordination.ServerCount(e.config.Shared),
			AuthResolverWrapper: w.authentication(e, c.TracerProvider),
			ServiceResolver:     w.resolver,
		},
	}, nil
}
