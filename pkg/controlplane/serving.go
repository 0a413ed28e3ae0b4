package controlplane

import (
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
// server. A host that is neither a DNS name nor an IP address is an error.
func (s *Server) ServingCertificate(hosts ...string) (pki.KeyPair, error) {
	if len(hosts) == 0 {
		hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	pair, err := s.pki.IssueServing(hosts, 0)
	if err != nil {
		return pki.KeyPair{}, fmt.Errorf("controlplane: serving certificate: %w", err)
	}
	return pair, nil
}
