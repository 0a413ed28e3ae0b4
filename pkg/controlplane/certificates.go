package controlplane

import (
	"context"
	"net"
	"net/netip"
	"time"

	"k8s.io/kubernetes/pkg/controller/certificates/authority"

	"github.com/kubembed/kubembed/internal/certificates"
)

// controllersTimeout is how long a stop waits for controllers. What they are
// doing is cut, so that they end within milliseconds.
const controllersTimeout = 5 * time.Second

// startCertificates starts the controllers that kubelets get their certificates
// from, beside the API server. They are not awaited.
func (s *Server) startCertificates() error {
	serving, err := s.pki.Serving().TLS()
	if err != nil {
		return err
	}
	cfg := certificates.Config{
		Client:           s.apiserver.LoopbackConfig(),
		Serves:           s.apiserver.Serves,
		Nodes:            s.apiserver.Nodes(),
		CA:               &authority.CertificateAuthority{Certificate: s.pki.CA().Cert, PrivateKey: s.pki.CA().Key},
		SigningDuration:  s.config.ClusterSigningDuration,
		Local:            s.boundIP().IsLoopback(),
		OwnNames:         serving.Leaf.DNSNames,
		ServiceAddresses: addresses(s.serviceIP),
		OwnAddresses:     addresses(serving.Leaf.IPAddresses...),
		Logger:           s.config.Logger.Named("certificates"),
	}
	s.certificates, err = certificates.Start(cfg)
	return err
}

func (s *Server) stopCertificates() error {
	ctx, cancel := context.WithTimeout(context.Background(), controllersTimeout)
	defer cancel()
	return s.certificates.Stop(ctx)
}

func addresses(ips ...net.IP) (addrs []netip.Addr) {
	for _, ip := range ips {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}
