// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/internal/apiserver/bootstrap"
	"github.com/kubembed/kubembed/internal/apiserver/servicecidr"
)

// seed writes the missing bootstrap objects, and reports whether no object existed.
func (s *Server) seed(ctx context.Context) (fresh bool, err error) {
	return bootstrap.Seed(ctx, bootstrap.Config{
		Backend:     s.backend,
		Services:    s.config.serviceRanges(),
		Controllers: s.config.Controllers,
		CABundle:    s.config.caBundle(),
		Serves:      s.serves,
		OpenAPI:     s.serverConfig.OpenAPIV3Config,
		Logger:      s.config.Logger,
	})
}

// serves reports whether the server of the built-in APIs serves a group version.
func (s *Server) serves(gv schema.GroupVersion) bool {
	path := "/apis/" + gv.Group + "/" + gv.Version
	if gv.Group == "" {
		path = "/api/" + gv.Version
	}
	return slices.Contains(s.builtinPaths, path)
}

// waitServiceIPs returns when Services get cluster IPs.
func (s *Server) waitServiceIPs(ctx context.Context) error {
	if s.services == nil {
		return nil
	}
	enabled := s.serverConfig.MergedResourceConfig
	for _, resource := range []schema.GroupVersionResource{
		corev1.SchemeGroupVersion.WithResource("services"),
		networkingv1.SchemeGroupVersion.WithResource("servicecidrs"),
		networkingv1.SchemeGroupVersion.WithResource("ipaddresses"),
	} {
		if !enabled.ResourceEnabled(resource) {
			return nil
		}
	}
	return servicecidr.WaitForAllocator(ctx, s.services, len(s.config.serviceRanges()), s.sharedInformers.Networking().V1().ServiceCIDRs().Lister())
}

// runServiceCIDR keeps the default ServiceCIDR.
func (s *Server) runServiceCIDR() {
	if s.serverConfig.MergedResourceConfig.ResourceEnabled(networkingv1.SchemeGroupVersion.WithResource("servicecidrs")) {
		servicecidr.Run(s.ctx, s.config.serviceRanges(), s.client)
	}
}

// defaultServiceCIDR is the default of Config.ServiceCIDR.
func defaultServiceCIDR() *net.IPNet {
	_, cidr, _ := net.ParseCIDR(servicecidr.Default)
	return cidr
}
