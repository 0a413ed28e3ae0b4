// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"

	"github.com/kubembed/kubembed/internal/apiserver/runtimeconfig"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// configureResources sets the resources that are served, and switches off the start hooks
// and the health checks of resources that are not.
func configureResources(e *environment, c *genericapiserver.Config) (err error) {
	if c.MergedResourceConfig, err = runtimeconfig.Builtin(e.config.RuntimeConfig); err != nil {
		return fieldpath.New("apiserver", "Config.RuntimeConfig", "%w", err)
	}
	c.DisabledPostStartHooks.Insert(hooksWithoutResources(c.MergedResourceConfig)...)
	c.AddHealthChecks(e.boot.Checks(c.MergedResourceConfig, slices.Contains(e.config.Authorization.source().Types(), modes.ModeRBAC))...)
	return nil
}

// hooksWithoutResources returns the start hooks of upstream that never finish, or exit
// the process, if the resources that they write are switched off.
func hooksWithoutResources(enabled *serverstorage.ResourceConfig) (hooks []string) {
	needs := func(hook string, resources ...schema.GroupVersionResource) {
		for _, resource := range resources {
			if !enabled.ResourceEnabled(resource) {
				hooks = append(hooks, hook)
				return
			}
		}
	}
	services := corev1.SchemeGroupVersion.WithResource("services")
	endpoints := corev1.SchemeGroupVersion.WithResource("endpoints")
	leases := coordinationv1.SchemeGroupVersion.WithResource("leases")
	cidrs := networkingv1.SchemeGroupVersion.WithResource("servicecidrs")
	addresses := networkingv1.SchemeGroupVersion.WithResource("ipaddresses")
	needs("start-kube-apiserver-identity-lease-controller", leases)
	needs("start-kube-apiserver-identity-lease-garbage-collector", leases)
	needs("bootstrap-controller", services, endpoints, cidrs, addresses)
	return hooks
}

// servedInAnyVersion reports whether a built-in resource is served.
func servedInAnyVersion(enabled *serverstorage.ResourceConfig, resource schema.GroupResource) bool {
	for _, gv := range legacyscheme.Scheme.PrioritizedVersionsForGroup(resource.Group) {
		if enabled.ResourceEnabled(gv.WithResource(resource.Resource)) {
			return true
		}
	}
	return false
}

// served reports whether a built-in resource is served.
func (s *Server) served(resource schema.GroupResource) bool {
	return servedInAnyVersion(s.serverConfig.MergedResourceConfig, resource)
}
