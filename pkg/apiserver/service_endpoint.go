// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net"

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
func (g *generic) publishedAddress() net.IP {
	if g.config.endpoint != nil {
		return g.config.endpoint
	}
	return g.server.PublicAddress
}

// PublishesAddress reports whether the kubernetes Service has endpoints: they cannot have
// a loopback address.
func (s *Server) PublishesAddress() bool { return !s.generic.publishedAddress().IsLoopback() }

// endpointReconciler returns the reconciler of the endpoints of the kubernetes Service.
func (g *generic) endpointReconciler() (reconcilers.EndpointReconciler, error) {
	switch {
	case g.publishedAddress().IsLoopback():
		return endpoints.NoReconciler(), nil
	case g.config.Shared:
		config, err := g.factory.NewConfig(core.Resource("apiServerIPInfo"), &core.Endpoints{})
		if err != nil {
			return nil, fmt.Errorf("apiserver: leases of API servers: %w", err)
		}
		return endpoints.NewLeaseReconciler(g.ctx, g.backend, config, g.loopback)
	default:
		return endpoints.NewReconciler(g.ctx, g.loopback), nil
	}
}
