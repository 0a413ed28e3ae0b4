// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package openapi makes the OpenAPI documents of the API server. Upstream creates all
// 1,400 definitions for each document and each server, at start. This package creates the
// definitions of version 3, which managed fields need at start, once per process, the
// documents of the built-in APIs when a client first asks for them, and the version 2
// documents of the small servers of the chain from the definitions of their own types.
package openapi

import (
	"maps"
	"sync"

	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	apiextensionsopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericfeatures "k8s.io/apiserver/pkg/features"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/openapi"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	aggregatoropenapi "k8s.io/kube-aggregator/pkg/generated/openapi"
	builderutil "k8s.io/kube-openapi/pkg/builder3/util"
	openapicommon "k8s.io/kube-openapi/pkg/common"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
)

// Configs returns the configurations of the OpenAPI documents, versions 2 and 3, of the
// built-in APIs.
func Configs() (*openapicommon.Config, *openapicommon.OpenAPIV3Config) {
	v2 := genericapiserver.DefaultOpenAPIConfig(DefinitionsV2, namer())
	v2.Info.Title = "Kubernetes"
	v3 := genericapiserver.DefaultOpenAPIV3Config(DefinitionsV3, namer())
	v3.Info.Title = "Kubernetes"
	return v2, v3
}

// namer names the definitions of all kinds. Nothing changes it.
var namer = sync.OnceValue(func() *openapinamer.DefinitionNamer {
	return openapinamer.NewDefinitionNamer(legacyscheme.Scheme, apiextensionsapiserver.Scheme, aggregatorscheme.Scheme)
})

// DefinitionsV2 returns the definitions of the built-in APIs, for the version 2 document.
var DefinitionsV2 = openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(generatedopenapi.GetOpenAPIDefinitions)

// UseExtensionsDefinitions limits the version 2 document of the server of custom
// resources, which is built at start, to its own types. They are generated from the same
// sources as the types of DefinitionsV2.
func UseExtensionsDefinitions(c *genericapiserver.Config) {
	onlyDefinitions(c, apiextensionsopenapi.GetOpenAPIDefinitions)
}

// UseAggregatorDefinitions is UseExtensionsDefinitions for the aggregator.
func UseAggregatorDefinitions(c *genericapiserver.Config) {
	onlyDefinitions(c, aggregatoropenapi.GetOpenAPIDefinitions)
}

func onlyDefinitions(c *genericapiserver.Config, definitions openapicommon.GetOpenAPIDefinitions) {
	own := *c.OpenAPIConfig
	own.GetDefinitions = openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(definitions)
	c.OpenAPIConfig = &own
}

// DefinitionsV3 returns the definitions of the built-in APIs. All servers of the process
// share the parts that upstream's builders do not change: all but the map itself and the
// extensions of each definition. ref must be the one of
// genericapiserver.DefaultOpenAPIV3Config, which does the same for every server.
func DefinitionsV3(ref openapicommon.ReferenceCallback) map[string]openapicommon.OpenAPIDefinition {
	shared := sharedDefinitionsV3.of(ref)
	own := make(map[string]openapicommon.OpenAPIDefinition, len(shared))
	for name, definition := range shared {
		definition.Schema.Extensions = maps.Clone(definition.Schema.Extensions)
		own[name] = definition
	}
	return own
}

var sharedDefinitionsV3 sharedDefinitions

// sharedDefinitions are read by many servers, and changed by none.
type sharedDefinitions struct {
	mu sync.Mutex
	// By the value of OpenAPIEnums, the only feature gate on which definitions depend. It
	// may change between two servers.
	byEnums map[bool]map[string]openapicommon.OpenAPIDefinition
}

func (s *sharedDefinitions) of(ref openapicommon.ReferenceCallback) map[string]openapicommon.OpenAPIDefinition {
	s.mu.Lock()
	defer s.mu.Unlock()
	enums := utilfeature.DefaultFeatureGate.Enabled(genericfeatures.OpenAPIEnums)
	if made, ok := s.byEnums[enums]; ok {
		return made
	}
	made := DefinitionsV2(ref)
	for name, definition := range made {
		// Upstream's builder would do it for each document, and then copies nothing.
		definition.Schema = *builderutil.WrapRefs(&definition.Schema)
		made[name] = definition
	}
	if s.byEnums == nil {
		s.byEnums = map[bool]map[string]openapicommon.OpenAPIDefinition{}
	}
	s.byEnums[enums] = made
	return made
}
