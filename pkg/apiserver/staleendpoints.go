package apiserver

import (
	"net"
	"slices"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"
)

// staleEndpoints knows whether there is something to remove. At the start upstream removes
// our address from the endpoints of the kubernetes Service, and takes a nil error for the
// trace of a crash, of which it warns. Its reconciler for one server returns nil too where
// there is nothing.
type staleEndpoints struct {
	reconcilers.EndpointReconciler
	read    func(namespace, name string, _ metav1.GetOptions) (*corev1.Endpoints, error)
	stopped atomic.Bool
}

func (e *staleEndpoints) StopReconciling() {
	e.stopped.Store(true)
	e.EndpointReconciler.StopReconciling()
}

func (e *staleEndpoints) RemoveEndpoints(service string, ip net.IP, ports []corev1.EndpointPort) error {
	// At the stop every error is one.
	if !e.stopped.Load() {
		object, err := e.read(metav1.NamespaceDefault, service, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && !hasAddress(object, ip) {
			return apistorage.NewKeyNotFoundError(service, 0)
		}
	}
	return e.EndpointReconciler.RemoveEndpoints(service, ip, ports)
}

func hasAddress(object *corev1.Endpoints, ip net.IP) bool {
	return slices.ContainsFunc(object.Subsets, func(subset corev1.EndpointSubset) bool {
		return slices.ContainsFunc(slices.Concat(subset.Addresses, subset.NotReadyAddresses),
			func(address corev1.EndpointAddress) bool { return ip.Equal(net.ParseIP(address.IP)) })
	})
}
