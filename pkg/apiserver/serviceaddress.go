package apiserver

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
)

// freeServiceAddress deletes the IPAddress of the kubernetes Service where there is no
// such Service. A process that ends while it creates the Service leaves one: upstream
// allocates the address first. The next start would find it taken, and have no Service
// for the minutes after which upstream's repair takes it back.
func (s *Server) freeServiceAddress(ctx context.Context) error {
	services, err := s.backend.Store(core.Resource("services"))
	if err != nil {
		return nil //nolint:nilerr // switched off by Config.RuntimeConfig
	}
	addresses, err := s.backend.Store(networking.Resource("ipaddresses"))
	if err != nil {
		return nil //nolint:nilerr // the same
	}
	key := services.Key(metav1.NamespaceDefault, kubernetesServiceName)
	if err := services.Get(ctx, key, apistorage.GetOptions{}, &core.Service{}); !apistorage.IsNotFound(err) {
		return err
	}
	ip, err := netutils.GetIndexedIP(s.config.ServiceCIDR, 1) // as upstream's ServiceIPRange
	if err != nil {
		return fieldpath.New("apiserver", "Config.ServiceCIDR", "%w", err)
	}
	errOthers := errors.New("the address of another Service")
	own := func(_ context.Context, object runtime.Object) error {
		address, ok := object.(*networking.IPAddress)
		if !ok || address.Spec.ParentRef == nil || *address.Spec.ParentRef != (networking.ParentReference{
			Resource: "services", Namespace: metav1.NamespaceDefault, Name: kubernetesServiceName,
		}) {
			return errOthers
		}
		return nil
	}
	err = addresses.Delete(ctx, addresses.Key("", ip.String()), &networking.IPAddress{}, nil, own, nil, apistorage.DeleteOptions{})
	switch {
	case err == nil:
		s.config.Logger.Info("the kubernetes Service was not created before the last end; its address is free again", zap.Stringer("ip", ip))
	case apistorage.IsNotFound(err), errors.Is(err, errOthers):
	default:
		return fmt.Errorf("apiserver: the address of the kubernetes Service: %w", err)
	}
	return nil
}
