package controlplane

import (
	"context"
	"fmt"

	"github.com/kubembed/kubembed/pkg/pki"
)

// ServingCertificate returns a serving certificate of the control plane's CA, for
// a server that the API server calls: a webhook, or an aggregated API server. The
// caBundle of its registration is CABundle. hosts are the DNS names and IP
// addresses, without ports, that the API server knows it by: the host of the URL
// of a webhook, or NAME.NAMESPACE.svc where it is registered by its Service. If
// empty, localhost, 127.0.0.1 and ::1.
//
// Each call makes another, with a key of its own. It is valid for a year, or as
// long as the CA if that is shorter, is not renewed, and cannot be revoked.
// Clients of the control plane trust it too, so that its key must stay with the
// server. As long as the control plane runs, no node gets a serving certificate for
// hosts. A host that is neither a DNS name nor an IP address is an error.
//
// It is not for a program that stands in for a kubelet: that needs
// NodeServingCertificate.
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
// program that stands in for it. The API server calls the kubelet of a node by one of
// the addresses that the Node has registered, which must be among hosts, and only if
// its certificate names the node. A server for several nodes at one address finds the
// node that is meant in the server name of the TLS handshake, unless the node is
// called like an IP address.
//
// Each call makes another, with a key of its own. It is valid for a year, or as long
// as its CA if that is shorter, is not renewed, and cannot be revoked. Clients of the
// control plane do not trust it: see KubeletServingCABundle. A node that is not a DNS
// subdomain is an error, and so is a host that is neither a DNS name nor an IP address.
func (s *Server) NodeServingCertificate(node string, hosts ...string) (pki.KeyPair, error) {
	pair, err := s.pki.IssueNodeServing(node, hosts, 0)
	if err != nil {
		return pki.KeyPair{}, fmt.Errorf("controlplane: node serving certificate: %w", err)
	}
	return pair, nil
}

// KubeletServingCABundle returns the PEM certificates by which kubelets are known as
// servers, for programs that connect to them, such as metrics-server or Prometheus. A
// kubelet has the subject CN=system:node:NAME, O=system:nodes: verify it, too, where
// nodes do not trust each other, for a node chooses the addresses that it registers.
// Certificates that an older release has signed are of CABundle until they are
// renewed.
func (s *Server) KubeletServingCABundle() []byte { return s.pki.KubeletServingCABundle() }
