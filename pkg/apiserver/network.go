// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Network configures Services and the addresses of the server.
type Network struct {
	// SecondaryServiceCIDR is a second range of Service cluster IPs, of the other IP
	// family, for dual-stack clusters. If empty, Services have one family.
	SecondaryServiceCIDR string
	// ServiceNodePortRange is the range of node ports, like "30000-32767", the default.
	ServiceNodePortRange string
	// ExternalHost is the host name, and optionally the port, that the server gives to
	// clients in links, like the discovery document of service-account tokens. If empty,
	// the advertised address.
	ExternalHost string
	// DisableEndpoints leaves the endpoints of the kubernetes Service to the host.
	DisableEndpoints bool
	// EndpointPorts are further ports of these endpoints, beside https.
	EndpointPorts []corev1.EndpointPort
}

// Clone returns a deep copy.
func (n Network) Clone() Network {
	n.EndpointPorts = slices.Clone(n.EndpointPorts)
	return n
}

func (n Network) validate(at *field.Path) (errs field.ErrorList) {
	return errs
}
