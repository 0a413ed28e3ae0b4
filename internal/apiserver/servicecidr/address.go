// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package servicecidr

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/networking"
	netutils "k8s.io/utils/net"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/storage"
)

// kubernetesService is the Service of the API server in the namespace default.
const kubernetesService = "kubernetes"

// ReleaseKubernetesAddress deletes the IPAddress of the kubernetes Service if the Service
// does not exist. Upstream allocates the address before it creates the Service, and a
// process that ends between the two leaves the IPAddress. The next start would find the
// address taken, and would have no kubernetes Service until upstream's repair loop
// releases the address minutes later.
func ReleaseKubernetesAddress(ctx context.Context, backend *storage.Backend, ranges Ranges, logger *zap.Logger) error {
	services, err := backend.Store(core.Resource("services"))
	if err != nil {
		return nil //nolint:nilerr // switched off by Config.RuntimeConfig
	}
	addresses, err := backend.Store(networking.Resource("ipaddresses"))
	if err != nil {
		return nil //nolint:nilerr // the same
	}
	err = services.Get(ctx, services.Key(metav1.NamespaceDefault, kubernetesService), apistorage.GetOptions{}, &core.Service{})
	if !apistorage.IsNotFound(err) {
		return err
	}
	ip, err := netutils.GetIndexedIP(ranges[0], 1) // as upstream's ServiceIPRange
	if err != nil {
		return fieldpath.New("apiserver", "Config.ServiceCIDR", "%w", err)
	}
	errOther := errors.New("the address of another Service")
	ofKubernetes := func(_ context.Context, object runtime.Object) error {
		address, ok := object.(*networking.IPAddress)
		if !ok || address.Spec.ParentRef == nil || *address.Spec.ParentRef != (networking.ParentReference{
			Resource: "services", Namespace: metav1.NamespaceDefault, Name: kubernetesService,
		}) {
			return errOther
		}
		return nil
	}
	err = addresses.Delete(ctx, addresses.Key("", ip.String()), &networking.IPAddress{}, nil, ofKubernetes, nil, apistorage.DeleteOptions{})
	switch {
	case err == nil:
		logger.Info("an earlier process ended before it created the kubernetes Service: its address is released", zap.Stringer("ip", ip))
	case apistorage.IsNotFound(err), errors.Is(err, errOther):
	default:
		return fmt.Errorf("apiserver: the address of the kubernetes Service: %w", err)
	}
	return nil
}
