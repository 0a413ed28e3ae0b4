// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"

	"github.com/kubembed/kubembed/internal/apiserver/endpoints"
)

// validateEndpoint refuses an advertised address that the kubernetes Service cannot have
// as its endpoint. For a loopback address there is no endpoint.
func validateEndpoint(ip net.IP) field.ErrorList {
	if ip.IsLoopback() {
		return nil
	}
	if err := endpoints.Validate(ip); err != nil {
		return field.ErrorList{field.Invalid(field.NewPath("AdvertiseAddress"), ip.String(),
			fmt.Sprintf("the endpoint of the kubernetes Service %s: set an address that it can have", err))}
	}
	return nil
}

// publishedAddress is the address in the endpoints of the kubernetes Service.
func (c Config) publishedAddress() net.IP {
	if c.endpoint != nil {
		return c.endpoint
	}
	return c.AdvertiseAddress
}

// PublishesAddress reports whether the server writes the endpoints of the kubernetes
// Service: they cannot have a loopback address.
func (s *Server) PublishesAddress() bool {
	return !s.config.Network.DisableEndpoints && !s.config.publishedAddress().IsLoopback()
}

// endpointReconciler returns the reconciler of the endpoints of the kubernetes Service.
func endpointReconciler(e *environment, stored storageConfig) (reconcilers.EndpointReconciler, error) {
	reconciler, err := addressReconciler(e, stored)
	if err != nil {
		return nil, err
	}
	return endpoints.WithPorts(e.ctx, reconciler, e.client.CoreV1().Services(metav1.NamespaceDefault), e.config.Network.KubernetesServicePorts, e.config.Logger), nil
}

// addressReconciler returns the reconciler of the endpoints without further ports.
func addressReconciler(e *environment, stored storageConfig) (reconcilers.EndpointReconciler, error) {
	switch {
	case e.config.Network.DisableEndpoints, e.config.publishedAddress().IsLoopback():
		return endpoints.NoReconciler(), nil
	case e.config.Shared:
		config, err := stored.factory.NewConfig(core.Resource("apiServerIPInfo"), &core.Endpoints{})
		if err != nil {
			return nil, fmt.Errorf("apiserver: leases of API servers: %w", err)
		}
		return endpoints.NewLeaseReconciler(e.ctx, e.backend, config, e.restConfig)
	default:
		return endpoints.NewReconciler(e.ctx, e.restConfig), nil
	}
}
