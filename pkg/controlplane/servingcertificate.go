// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"

	"github.com/kubembed/kubembed/pkg/pki"
)

// ServingCertificate returns a serving certificate of the control plane's CA, for a
// server that the API server calls: a webhook or an aggregated API server. Use CABundle
// as the caBundle of its registration. The API server calls it at hosts, which are DNS
// names and IP addresses without ports: the host of a webhook's URL, or
// NAME.NAMESPACE.svc of its Service. If empty, localhost, 127.0.0.1 and ::1.
//
// Each call returns a new certificate with a new key. It is valid for a year, or as long
// as the CA if that is shorter. It is not renewed and cannot be revoked. Clients of the
// control plane trust it too: keep the key on the server. While the control plane runs,
// no node gets a serving certificate for hosts. A host that is neither a DNS name nor an
// IP address is an error.
//
// A program that stands in for a kubelet needs NodeServingCertificate instead.
func (s *Server) ServingCertificate(hosts ...string) (pki.KeyPair, error) {
	if len(hosts) == 0 {
		hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	pair, err := s.pki.IssueServing(hosts, 0)
	if err != nil {
		return pki.KeyPair{}, fmt.Errorf("controlplane: serving certificate: %w", err)
	}
	if err := s.apiserver.Reserve(context.Background(), hosts...); err != nil {
		return pki.KeyPair{}, fmt.Errorf("controlplane: serving certificate: %w", err)
	}
	return pair, nil
}

// NodeServingCertificate returns the serving certificate of the kubelet of node, for a
// program that stands in for it. The API server calls a kubelet at one of the addresses
// of its Node. They must be among hosts, and the certificate must name the node. A server
// for several nodes at one address finds the node in the server name of the TLS
// handshake, unless the node's name is an IP address.
//
// Each call returns a new certificate with a new key. It is valid for a year, or as long
// as its CA if that is shorter. It is not renewed and cannot be revoked. Clients of the
// control plane do not trust it: see KubeletServingCABundle. It fails if node is not a
// DNS subdomain, or a host is neither a DNS name nor an IP address.
func (s *Server) NodeServingCertificate(node string, hosts ...string) (pki.KeyPair, error) {
	pair, err := s.pki.IssueNodeServing(node, hosts, 0)
	if err != nil {
		return pki.KeyPair{}, fmt.Errorf("controlplane: node serving certificate: %w", err)
	}
	return pair, nil
}

// KubeletServingCABundle returns the PEM certificates that verify kubelets as servers,
// for programs that connect to them, such as metrics-server or Prometheus. A kubelet has
// the subject CN=system:node:NAME, O=system:nodes. If nodes do not trust each other,
// verify it too, because a node chooses the addresses that it registers. Certificates of
// older releases are signed by the CA of CABundle until they are renewed.
func (s *Server) KubeletServingCABundle() []byte { return s.pki.KubeletServingCABundle() }
