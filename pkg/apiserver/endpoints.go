package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apistorage "k8s.io/apiserver/pkg/storage"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryv1client "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"
)

// machineEndpoint is the address in the endpoints of the kubernetes Service where
// AdvertiseAddress is not set and would be a loopback address, which endpoints may not
// have. It is the one that kube-apiserver takes: that of this machine, if it has one.
func (c Config) machineEndpoint() net.IP {
	if !c.AdvertiseAddress.IsLoopback() || c.Shared {
		return nil
	}
	ip, err := utilnet.ResolveBindAddress(c.AdvertiseAddress)
	if err != nil || ip.IsLoopback() || reconcileable(ip) != nil || (ip.To4() == nil) != (c.ServiceCIDR.IP.To4() == nil) {
		return nil
	}
	return ip
}

// reconcileable returns why upstream's reconcilers do not take an address as an endpoint of
// the kubernetes Service.
func reconcileable(ip net.IP) error {
	err := reconcilers.NewMasterCountEndpointReconciler(1, reconcilers.EndpointsAdapter{}).ValidateIP(ip)
	if invalid := (*field.Error)(nil); errors.As(err, &invalid) {
		return errors.New(invalid.Detail)
	}
	return err
}

// validateEndpoint refuses an advertised address that the kubernetes Service cannot have as
// its endpoint. For a loopback address there is no endpoint.
func validateEndpoint(ip net.IP) field.ErrorList {
	if ip.IsLoopback() {
		return nil
	}
	if err := reconcileable(ip); err != nil {
		return field.ErrorList{field.Invalid(field.NewPath("AdvertiseAddress"), ip.String(),
			fmt.Sprintf("the endpoint of the kubernetes Service %s: set an address that it can have", err))}
	}
	return nil
}

// publishedAddress is the address in the endpoints of the kubernetes Service.
func (g *generic) publishedAddress() net.IP {
	if g.config.endpoint != nil {
		return g.config.endpoint
	}
	return g.server.PublicAddress
}

// PublishesAddress reports whether the kubernetes Service has endpoints: the address in
// them may not be a loopback address.
func (s *Server) PublishesAddress() bool { return !s.generic.publishedAddress().IsLoopback() }

// endpointReconciler keeps the endpoints of the kubernetes Service. With one
// server the simplest of upstream's does: it writes our address and no other.
func (g *generic) endpointReconciler() (reconcilers.EndpointReconciler, error) {
	switch {
	case g.publishedAddress().IsLoopback():
		return &quietEndpoints{EndpointReconciler: reconcilers.NewNoneEndpointReconciler()}, nil
	case g.config.Shared:
		return g.leaseReconciler()
	default:
		endpoints := corev1client.NewForConfigOrDie(g.loopback)
		adapter := reconcilers.NewEndpointsAdapter(endpoints, discoveryv1client.NewForConfigOrDie(g.loopback))
		return &quietEndpoints{
			EndpointReconciler: reconcilers.NewMasterCountEndpointReconciler(1, adapter),
			ctx:                g.ctx,
			endpoints:          endpoints.Endpoints(metav1.NamespaceDefault),
			adapter:            &adapter,
		}, nil
	}
}

// quietEndpoints does not warn of ordinary starts. Upstream's reconciler says that it has
// removed endpoints of an earlier server where there are none, and it resets endpoints
// that have no address, which is how a stop leaves them: the start warns of both. Where
// there are endpoints, the start takes that for a crash, but every snapshot of a server
// that runs has them. Package controlplane knows of crashes, and logs them.
type quietEndpoints struct {
	reconcilers.EndpointReconciler
	ctx       context.Context
	endpoints corev1client.EndpointsInterface // nil where nothing is ever written
	adapter   *reconcilers.EndpointsAdapter
	filled    atomic.Bool
	stopped   atomic.Bool
}

func (r *quietEndpoints) StopReconciling() {
	r.stopped.Store(true)
	r.EndpointReconciler.StopReconciling()
}

func (r *quietEndpoints) RemoveEndpoints(service string, ip net.IP, ports []corev1.EndpointPort) error {
	if r.stopped.Load() {
		return r.EndpointReconciler.RemoveEndpoints(service, ip, ports)
	}
	if r.has(service, ip) {
		if err := r.EndpointReconciler.RemoveEndpoints(service, ip, ports); err != nil {
			return err
		}
	}
	return apistorage.NewKeyNotFoundError(service, 0)
}

func (r *quietEndpoints) ReconcileEndpoints(service string, ip net.IP, ports []corev1.EndpointPort, reconcilePorts bool) error {
	if r.endpoints != nil && !r.stopped.Load() && !r.filled.Swap(true) {
		endpoints, err := r.endpoints.Get(r.ctx, service, metav1.GetOptions{})
		if err == nil && len(endpoints.Subsets) == 0 {
			//nolint:staticcheck // deprecated, and what upstream's reconciler writes
			endpoints.Subsets = []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: ip.String()}}, Ports: ports}}
			if _, err := r.adapter.Update(metav1.NamespaceDefault, endpoints); err != nil {
				return err
			}
		}
	}
	return r.EndpointReconciler.ReconcileEndpoints(service, ip, ports, reconcilePorts)
}

// has reports whether ip is, or may be, in the endpoints of a Service.
func (r *quietEndpoints) has(service string, ip net.IP) bool {
	if r.endpoints == nil {
		return false
	}
	endpoints, err := r.endpoints.Get(r.ctx, service, metav1.GetOptions{})
	if err != nil {
		return !apierrors.IsNotFound(err)
	}
	for _, subset := range endpoints.Subsets {
		if slices.ContainsFunc(subset.Addresses, func(address corev1.EndpointAddress) bool { return address.IP == ip.String() }) {
			return true
		}
	}
	return false
}
