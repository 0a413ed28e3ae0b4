package apiserver

import (
	"context"
	"fmt"

	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/kubernetes/pkg/apis/networking"
	"k8s.io/kubernetes/pkg/controlplane/controller/defaultservicecidr"
)

// checkServiceCIDR refuses another range than that of the stored objects: Services would
// keep addresses that are not in it, and new ones would still get theirs from the old
// one. Where an administrator has moved the Services to another range, as upstream
// describes, and deleted the default ServiceCIDR, it is made again.
func (s *Server) checkServiceCIDR(ctx context.Context) error {
	store, err := s.backend.Store(serviceCIDRKind.resource)
	if err != nil {
		return nil //nolint:nilerr // switched off by Config.RuntimeConfig
	}
	var stored networking.ServiceCIDR
	key := store.ResourcePrefix + "/" + defaultservicecidr.DefaultServiceCIDRName
	if err := store.Get(ctx, key, apistorage.GetOptions{IgnoreNotFound: true}, &stored); err != nil {
		return fmt.Errorf("apiserver: the stored range of Services: %w", err)
	}
	own := s.config.ServiceCIDR.String()
	if stored.DeletionTimestamp != nil || len(stored.Spec.CIDRs) == 0 || stored.Spec.CIDRs[0] == own {
		return nil
	}
	return fmt.Errorf("apiserver: Config.ServiceCIDR is %s, and the stored Services have addresses of %s: set it to that, or begin with empty data", own, stored.Spec.CIDRs[0])
}
