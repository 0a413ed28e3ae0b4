// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package servicecidr

import (
	"context"
	"fmt"
	"net"
	"slices"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/kubernetes/pkg/apis/networking"
	"k8s.io/kubernetes/pkg/controlplane/controller/defaultservicecidr"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/storage"
)

// CheckStored returns an error if the stored default ServiceCIDR has another range than
// cidr: existing Services would keep addresses that are not in cidr, and new ones would
// still get addresses of the stored range. manager is the name of the API server in
// managedFields.
//
// An administrator may have moved the Services to another range, as upstream documents,
// and deleted the default ServiceCIDR: then there is nothing to compare. Or he has
// created another one in its place: then Config.ServiceCIDR has not changed, and the
// start goes on with a warning, as kube-apiserver does.
func CheckStored(ctx context.Context, backend *storage.Backend, cidr *net.IPNet, manager string, logger *zap.Logger) error {
	store, err := backend.Store(networking.Resource("servicecidrs"))
	if err != nil {
		return nil //nolint:nilerr // switched off by Config.RuntimeConfig
	}
	var stored networking.ServiceCIDR
	if err := store.Get(ctx, store.Key("", defaultservicecidr.DefaultServiceCIDRName), apistorage.GetOptions{IgnoreNotFound: true}, &stored); err != nil {
		return fmt.Errorf("apiserver: the stored range of Services: %w", err)
	}
	if stored.DeletionTimestamp != nil || len(stored.Spec.CIDRs) == 0 || stored.Spec.CIDRs[0] == cidr.String() {
		return nil
	}
	if !createdBy(manager, stored.ManagedFields) {
		logger.Warn("the default ServiceCIDR was created by a client: Services get addresses of it, and not of Config.ServiceCIDR, until it is deleted",
			zap.String("servicecidr", stored.Name), zap.Strings("cidrs", stored.Spec.CIDRs), zap.Stringer("configured", cidr))
		return nil
	}
	return fieldpath.New("apiserver", "Config.ServiceCIDR", "it is %s, and the stored Services have addresses of %s: set it to that, or begin with empty data", cidr, stored.Spec.CIDRs[0])
}

// createdBy reports whether manager may have created an object. Older releases recorded
// no managedFields.
func createdBy(manager string, fields []metav1.ManagedFieldsEntry) bool {
	return len(fields) == 0 || slices.ContainsFunc(fields, func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == manager && e.Subresource == ""
	})
}
