// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package endpoints has the endpoints of the Service kubernetes in namespace default.
package endpoints

import (
	"context"
	"errors"
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
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"
)

// MachineAddress returns the endpoint for a server that advertises a loopback address,
// which endpoints cannot have, in place of it: like kube-apiserver, the address of this
// machine. It is nil if the machine has none, or none of the family of serviceCIDR.
func MachineAddress(advertise net.IP, serviceCIDR *net.IPNet) net.IP {
	if !advertise.IsLoopback() {
		return nil
	}
	ip, err := utilnet.ResolveBindAddress(advertise)
	if err != nil || ip.IsLoopback() || Validate(ip) != nil || (ip.To4() == nil) != (serviceCIDR.IP.To4() == nil) {
		return nil
	}
	return ip
}

// Validate returns why upstream's reconcilers refuse an address as an endpoint, or nil.
func Validate(ip net.IP) error {
	err := reconcilers.NewMasterCountEndpointReconciler(1, reconcilers.EndpointsAdapter{}).ValidateIP(ip)
	if invalid := (*field.Error)(nil); errors.As(err, &invalid) {
		return errors.New(invalid.Detail)
	}
	return err
}

// NoReconciler returns a reconciler for a server that has no endpoint.
func NoReconciler() reconcilers.EndpointReconciler {
	return &quietReconciler{EndpointReconciler: reconcilers.NewNoneEndpointReconciler()}
}

// NewReconciler returns the reconciler of a single server. It is upstream's simplest: it
// writes the address of this server and removes all others.
func NewReconciler(ctx context.Context, loopback *rest.Config) reconcilers.EndpointReconciler {
	client := corev1client.NewForConfigOrDie(loopback)
	adapter := reconcilers.NewEndpointsAdapter(client, discoveryv1client.NewForConfigOrDie(loopback))
	return &quietReconciler{
		EndpointReconciler: reconcilers.NewMasterCountEndpointReconciler(1, adapter),
		ctx:                ctx,
		endpoints:          client.Endpoints(metav1.NamespaceDefault),
		adapter:            &adapter,
	}
}

// quietReconciler avoids upstream's warnings about ordinary starts. Upstream's reconciler
// reports that it has removed endpoints of an earlier server when there are none, and it
// resets endpoints without an address, which a stop leaves: the start warns of both. If
// there are endpoints, the start assumes a crash, but every snapshot of a running server
// has them. Package controlplane detects crashes, and logs them.
type quietReconciler struct {
	reconcilers.EndpointReconciler
	ctx       context.Context
	endpoints corev1client.EndpointsInterface // nil if nothing is written
	adapter   *reconcilers.EndpointsAdapter
	filled    atomic.Bool
	stopped   atomic.Bool
}

func (r *quietReconciler) StopReconciling() {
	r.stopped.Store(true)
	r.EndpointReconciler.StopReconciling()
}

func (r *quietReconciler) RemoveEndpoints(service string, ip net.IP, ports []corev1.EndpointPort) error {
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

func (r *quietReconciler) ReconcileEndpoints(service string, ip net.IP, ports []corev1.EndpointPort, reconcilePorts bool) error {
	if r.endpoints != nil && !r.stopped.Load() && !r.filled.Swap(true) {
		endpoints, err := r.endpoints.Get(r.ctx, service, metav1.GetOptions{})
		if err == nil && len(endpoints.Subsets) == 0 {
			//nolint:staticcheck // deprecated, but upstream's reconciler writes it
			endpoints.Subsets = []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: ip.String()}}, Ports: ports}}
			if _, err := r.adapter.Update(metav1.NamespaceDefault, endpoints); err != nil {
				return err
			}
		}
	}
	return r.EndpointReconciler.ReconcileEndpoints(service, ip, ports, reconcilePorts)
}

// has reports whether ip is, or may be, in the endpoints of a Service.
func (r *quietReconciler) has(service string, ip net.IP) bool {
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
