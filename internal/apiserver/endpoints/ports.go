// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package endpoints

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"
)

// WithPorts returns a reconciler that also gives the Service and its endpoints further
// ports. Upstream's controller creates the Service with one port, does not change it
// later, and then calls the reconciler.
func WithPorts(ctx context.Context, next reconcilers.EndpointReconciler, services corev1client.ServiceInterface, ports []corev1.ServicePort) reconcilers.EndpointReconciler {
	if len(ports) == 0 {
		return next
	}
	r := &portsReconciler{EndpointReconciler: next, ctx: ctx, services: services}
	for _, port := range ports {
		if port.Protocol == "" {
			port.Protocol = corev1.ProtocolTCP
		}
		if port.TargetPort.IntVal == 0 {
			port.TargetPort = intstr.FromInt32(port.Port)
		}
		r.service = append(r.service, port)
		r.endpoints = append(r.endpoints, corev1.EndpointPort{
			Name: port.Name, Port: port.TargetPort.IntVal, Protocol: port.Protocol, AppProtocol: port.AppProtocol,
		})
	}
	return r
}

type portsReconciler struct {
	reconcilers.EndpointReconciler
	ctx       context.Context
	services  corev1client.ServiceInterface
	service   []corev1.ServicePort
	endpoints []corev1.EndpointPort
}

func (r *portsReconciler) ReconcileEndpoints(service string, ip net.IP, ports []corev1.EndpointPort, reconcilePorts bool) error {
	// Clients need the address, even if the Service cannot have its further ports.
	return errors.Join(
		r.EndpointReconciler.ReconcileEndpoints(service, ip, slices.Concat(ports, r.endpoints), reconcilePorts),
		r.updateService(service))
}

func (r *portsReconciler) RemoveEndpoints(service string, ip net.IP, ports []corev1.EndpointPort) error {
	return r.EndpointReconciler.RemoveEndpoints(service, ip, slices.Concat(ports, r.endpoints))
}

// updateService adds the ports that the Service lacks, and corrects different ones.
func (r *portsReconciler) updateService(name string) error {
	service, err := r.services.Get(r.ctx, name, metav1.GetOptions{})
	if err != nil {
		if apierrors.IsNotFound(err) {
			return nil // the controller creates it in ten seconds
		}
		return err
	}
	changed := false
	for _, port := range r.service {
		i := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == port.Name })
		if i < 0 {
			service.Spec.Ports, changed = append(service.Spec.Ports, port), true
			continue
		}
		port.NodePort = service.Spec.Ports[i].NodePort
		if !equality.Semantic.DeepEqual(service.Spec.Ports[i], port) {
			service.Spec.Ports[i], changed = port, true
		}
	}
	if !changed {
		return nil
	}
	if _, err = r.services.Update(r.ctx, service, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("the ports of Service %s: %w", name, err)
	}
	return nil
}
