// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package servicecidr

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
	"github.com/kubembed/kubembed/internal/storage"
)

// CheckStored returns an error if the stored default ServiceCIDR has other ranges than
// ranges: existing Services would keep addresses that are not in them, and new ones would
// still get addresses of the stored ranges. A second range may be added: upstream's
// controller adds it to the stored ones. manager is the name of the API server in
// managedFields.
//
// An administrator may have moved the Services to another range, as upstream documents,
// and deleted the default ServiceCIDR: then there is nothing to compare. Or he has
// created another one in its place: then Config.ServiceCIDR has not changed, and the
// start goes on with a warning, as kube-apiserver does.
func CheckStored(ctx context.Context, backend *storage.Backend, ranges Ranges, manager string, logger *zap.Logger) error {
	store, err := backend.Store(networking.Resource("servicecidrs"))
	if err != nil {
		return nil //nolint:nilerr // switched off by Config.RuntimeConfig
	}
	var stored networking.ServiceCIDR
	if err := store.Get(ctx, store.Key("", defaultservicecidr.DefaultServiceCIDRName), apistorage.GetOptions{IgnoreNotFound: true}, &stored); err != nil {
		return fmt.Errorf("apiserver: the stored range of Services: %w", err)
	}
	was, is := stored.Spec.CIDRs, ranges.Texts()
	if stored.DeletionTimestamp != nil || len(was) == 0 || len(was) <= len(is) && slices.Equal(was, is[:len(was)]) {
		return nil
	}
	if !createdBy(manager, stored.ManagedFields) {
		logger.Warn("the default ServiceCIDR was created by a client: Services get addresses of it, and not of the configured range, until it is deleted",
			zap.String("field", "Config.ServiceCIDR"), zap.String("servicecidr", stored.Name), zap.Strings("cidrs", was), zap.Stringer("configured", ranges))
		return nil
	}
	switch {
	case was[0] != is[0]:
		return fieldpath.New("apiserver", "Config.ServiceCIDR", "it is %s, and the stored Services have addresses of %s: set it to that, or begin with empty data", is[0], was[0])
	case len(is) == 1:
		return fieldpath.New("apiserver", "Config.Network.SecondaryServiceCIDR", "it is empty, and the stored Services have addresses of %s too: set it to that, or begin with empty data", was[1])
	}
	return fieldpath.New("apiserver", "Config.Network.SecondaryServiceCIDR", "it is %s, and the stored Services have addresses of %s: set it to that, or begin with empty data", is[1], was[1])
}

// createdBy reports whether manager may have created an object. Older releases recorded
// no managedFields.
func createdBy(manager string, fields []metav1.ManagedFieldsEntry) bool {
	return len(fields) == 0 || slices.ContainsFunc(fields, func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == manager && e.Subresource == ""
	})
}
