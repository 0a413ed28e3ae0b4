// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/kubernetes/pkg/controlplane"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"

	"github.com/kubembed/kubembed/internal/apiserver/bootstrap"
	"github.com/kubembed/kubembed/internal/apiserver/openapi"
)

// chain assembles aggregator → built-in APIs → custom resources → not found, like
// k8s.io/kubernetes/cmd/kube-apiserver/app.CreateServerChain.
func (s *Server) chain(kube *controlplane.Config, stored storageConfig, w webhooks) error {
	e, c := &s.environment, s.serverConfig
	base := *c
	c.SkipOpenAPIInstallation = true // openapi.InstallLazy serves it
	forExtensions, err := extensionsConfig(e, base, stored, w)
	if err != nil {
		return err
	}
	forAggregator, err := aggregatorConfig(e, base, stored, w)
	if err != nil {
		return err
	}

	if s.extensions, err = newExtensions(e, forExtensions); err != nil {
		return err
	}
	destroy := s.extensions.GenericAPIServer.Destroy // of the servers so far
	s.resources.Push("apiserver: storage", func(context.Context) error { destroy(); return nil })
	// Before the storage, which their handlers use.
	s.resources.Push("apiserver: informers", func(context.Context) error { s.sharedInformers.Shutdown(); return nil })
	builtin, err := newBuiltin(e, s.presence, kube, s.extensions.GenericAPIServer)
	if err != nil {
		return fmt.Errorf("apiserver: built-in APIs: %w", err)
	}
	destroy = builtin.GenericAPIServer.Destroy
	s.builtinPaths = builtin.GenericAPIServer.ListedPaths()
	if err := openapi.InstallLazy(builtin.GenericAPIServer, c.OpenAPIConfig, c.OpenAPIV3Config); err != nil {
		return fmt.Errorf("apiserver: OpenAPI: %w", err)
	}
	// Before the built-in APIs and custom resources, after the aggregator's proxy.
	builtin.GenericAPIServer.Handler.Director = e.limits.Filter(builtin.GenericAPIServer.Handler.Director)
	crds := apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")
	aggregator, err := controlplaneapiserver.CreateAggregatorServer(
		forAggregator.Complete(),
		builtin.GenericAPIServer,
		s.extensions.Informers.Apiextensions().V1().CustomResourceDefinitions(),
		forExtensions.GenericConfig.MergedResourceConfig.ResourceEnabled(crds),
		bootstrap.GroupPriorities(),
	)
	if err != nil {
		return fmt.Errorf("apiserver: aggregator: %w", err)
	}
	destroy = aggregator.GenericAPIServer.Destroy
	s.aggregator = aggregator
	return nil
}
