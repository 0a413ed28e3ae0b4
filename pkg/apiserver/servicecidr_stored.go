package apiserver

import (
	"context"
	"fmt"
	"slices"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/kubernetes/pkg/apis/networking"
	"k8s.io/kubernetes/pkg/controlplane/controller/defaultservicecidr"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// checkServiceCIDR refuses another range than that of the stored objects: Services would
// keep addresses that are not in it, and new ones would still get theirs from the old
// one. Where an administrator has moved the Services to another range, as upstream
// describes, and deleted the default ServiceCIDR, it is made again. Where he has created
// another one in its place, Config.ServiceCIDR has not changed, and the start goes on as
// kube-apiserver's does.
func (s *Server) checkServiceCIDR(ctx context.Context) error {
	store, err := s.backend.Store(serviceCIDRKind.resource)
	if err != nil {
		return nil //nolint:nilerr // switched off by Config.RuntimeConfig
	}
	var stored networking.ServiceCIDR
	if err := store.Get(ctx, store.Key("", defaultservicecidr.DefaultServiceCIDRName), apistorage.GetOptions{IgnoreNotFound: true}, &stored); err != nil {
		return fmt.Errorf("apiserver: the stored range of Services: %w", err)
	}
	own := s.config.ServiceCIDR.String()
	if stored.DeletionTimestamp != nil || len(stored.Spec.CIDRs) == 0 || stored.Spec.CIDRs[0] == own {
		return nil
	}
	if !serverMade(stored.ManagedFields) {
		s.config.Logger.Warn("the default ServiceCIDR is not the control plane's: Services get addresses of it, and not of Config.ServiceCIDR, until it is deleted",
			zap.String("servicecidr", stored.Name), zap.Strings("cidrs", stored.Spec.CIDRs), zap.String("configured", own))
		return nil
	}
	return fieldpath.New("apiserver", "Config.ServiceCIDR", "it is %s, and the stored Services have addresses of %s: set it to that, or begin with empty data", own, stored.Spec.CIDRs[0])
}

// serverMade reports whether an object may be one that this server, or an earlier one,
// has created: older releases recorded nothing.
func serverMade(managed []metav1.ManagedFieldsEntry) bool {
	return len(managed) == 0 || slices.ContainsFunc(managed, func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == serverManager && e.Subresource == ""
	})
}
