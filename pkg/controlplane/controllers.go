// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"crypto"
	"net"
	"net/netip"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/controller/certificates/authority"

	"github.com/kubembed/kubembed/internal/certificates"
	"github.com/kubembed/kubembed/internal/controllers"
	"github.com/kubembed/kubembed/internal/controlplane/election"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// startElections starts leader election if other control planes may use the same etcd.
// The core controllers, each component and the snapshot schedule run in one control plane
// at a time.
func (s *Server) startElections() error {
	if !s.config.Etcd.shared() {
		return nil
	}
	if !s.apiserver.Serves(coordinationv1.SchemeGroupVersion.WithResource("leases")) {
		return fieldpath.New("", "Config.RuntimeConfig", "coordination.k8s.io/v1 is switched off, and control planes that share an etcd need Leases: switch it on")
	}
	config, err := s.apiserver.ClientConfigAs("system:kubembed-leader-election", user.SystemPrivilegedGroup)
	if err != nil {
		return err
	}
	if s.elections, err = election.New(config, s.apiserver.ID(), s.config.Logger.Named("election")); err != nil {
		return err
	}
	if s.config.Snapshots.Interval > 0 {
		s.elections.Hold(snapshotLease)
	}
	return nil
}

// startControllers starts the core controllers without waiting for them: the API server
// has already created their first objects.
func (s *Server) startControllers() error {
	if s.config.DisableCoreControllers {
		s.controllers = newComponents(nil, s.goroutines, s.config.Logger)
		return nil
	}
	var services []netip.Prefix
	for _, cidr := range []string{s.config.ServiceCIDR, s.config.Network.SecondaryServiceCIDR} {
		if prefix, err := netip.ParsePrefix(cidr); err == nil { // validated, or empty
			services = append(services, prefix.Masked())
		}
	}
	var serviceAccountKey crypto.Signer
	if s.config.ServiceAccounts.SigningEndpoint == "" { // the API server refuses tokens of another signer
		serviceAccountKey = s.pki.ServiceAccountKey()
	}
	core := controllers.Config{
		Informers:         s.apiserver.Informers(),
		Serves:            s.apiserver.Serves,
		WatchAPIs:         s.apiserver.WatchAPIs,
		APIsDiscovered:    s.apiserver.APIsDiscovered,
		Acknowledged:      s.apiserver.Acknowledged,
		FirstUse:          s.apiserver.FirstUse,
		AggregatedAPIs:    s.apiserver.AggregatedAPIs,
		Syncs:             &s.syncs,
		RootCA:            s.CABundle(),
		ServiceAccountKey: serviceAccountKey,
		Logger:            s.config.Logger.Named("controllers"),
	}
	if s.elections != nil {
		core.NewInformers = s.apiserver.NewInformers
	} else {
		core.WaitForWrites = s.apiserver.WaitForWrites
	}
	s.controllers = newComponents([]Component{
		controllers.ServiceAccounts(core),
		delayed{controllers.Core(core)},
		delayed{certificates.New(certificates.Config{
			Serves:                 s.apiserver.Serves,
			NodeInformer:           s.apiserver.Informers().Core().V1().Nodes().Informer(),
			CA:                     &authority.CertificateAuthority{Certificate: s.pki.CA().Cert, PrivateKey: s.pki.CA().Key},
			KubeletServingCA:       &authority.CertificateAuthority{Certificate: s.pki.KubeletServingCA().Cert, PrivateKey: s.pki.KubeletServingCA().Key},
			SigningDuration:        s.config.ClusterSigningDuration,
			KubeletSigningDuration: s.config.KubeletSigningDuration,
			Local:                  s.boundIP().IsLoopback(),
			Reserved:               s.reserved,
			ServiceAddresses:       addresses(s.serviceIP),
			ServiceRanges:          services,
			Logger:                 s.config.Logger.Named("certificates"),
		})},
	}, s.goroutines, s.config.Logger)
	return s.controllers.start(func(string) (*rest.Config, error) {
		// Upstream's controllers have their own roles, but not without RBAC.
		return s.apiserver.ClientConfigAs(user.KubeControllerManager, user.SystemPrivilegedGroup)
	}, s.elections, func(Component) string { return coreLease })
}

// controllerDelay is the time before the controllers list all objects. It keeps them out
// of the way of the host's first requests, which matters if many control planes start.
const controllerDelay = 200 * time.Millisecond

// delayed is a component that starts after controllerDelay.
type delayed struct{ Component }

func (d delayed) Run(ctx context.Context, config *rest.Config, ready func()) error {
	timer := time.NewTimer(controllerDelay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-timer.C:
		return d.Component.Run(ctx, config, ready)
	}
}

// startComponents starts the components of Config.
func (s *Server) startComponents() error {
	return s.components.start(func(name string) (*rest.Config, error) {
		config, err := s.apiserver.ClientConfigAs("system:"+name, user.SystemPrivilegedGroup)
		if err != nil {
			return nil, err
		}
		config.UserAgent = name
		return config, nil
	}, s.elections, leaseOf)
}

func addresses(ips ...net.IP) (addrs []netip.Addr) {
	for _, ip := range ips {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}
