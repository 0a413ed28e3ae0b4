// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package endpoints

import (
	"context"
	"net"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"
)

// WithPorts returns a reconciler that also gives the Service and its endpoints further
// ports. Upstream's controller creates the Service with one port, does not change it
// later, and then calls the reconciler, every ten seconds.
func WithPorts(ctx context.Context, next reconcilers.EndpointReconciler, services corev1client.ServiceInterface, ports []corev1.ServicePort, logger *zap.Logger) reconcilers.EndpointReconciler {
	if len(ports) == 0 {
		return next
	}
	r := &portsReconciler{EndpointReconciler: next, ctx: ctx, services: services, logger: logger}
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
	logger    *zap.Logger
	refused   string // the last error about the Service that was logged
}

func (r *portsReconciler) ReconcileEndpoints(service string, ip net.IP, ports []corev1.EndpointPort, reconcilePorts bool) error {
	// Clients need the address, even if the Service cannot have its further ports.
	err := r.EndpointReconciler.ReconcileEndpoints(service, ip, slices.Concat(ports, r.endpoints), reconcilePorts)
	r.report(retry.RetryOnConflict(retry.DefaultRetry, func() error { return r.updateService(service) }))
	return err
}

// report logs an error about the Service when it begins, and when it ends. Upstream would
// log it every ten seconds.
func (r *portsReconciler) report(err error) {
	if r.ctx.Err() != nil {
		return // the server stops
	}
	field, text := zap.String("field", "Config.Network.KubernetesServicePorts"), ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case text == r.refused:
	case err != nil:
		r.logger.Error("the kubernetes Service cannot have its further ports", field, zap.Error(err))
	default:
		r.logger.Info("the kubernetes Service has its further ports again", field)
	}
	r.refused = text
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
	ports := r.merged(service.Spec.Ports)
	if equality.Semantic.DeepEqual(service.Spec.Ports, ports) {
		return nil
	}
	service.Spec.Ports = ports
	_, err = r.services.Update(r.ctx, service, metav1.UpdateOptions{})
	return err
}

// upstreamPort is the name of the port that upstream's controller gives the Service.
const upstreamPort = "https"

// merged returns the ports of the Service with the configured ones. A stored port with
// the protocol and port of a configured one of another name was renamed.
func (r *portsReconciler) merged(stored []corev1.ServicePort) []corev1.ServicePort {
	merged := slices.Clone(stored)
	for _, port := range r.service {
		named := func(p corev1.ServicePort) bool { return p.Name == port.Name }
		renamed := func(p corev1.ServicePort) bool {
			return p.Name != port.Name && p.Name != upstreamPort && p.Protocol == port.Protocol && p.Port == port.Port
		}
		i := slices.IndexFunc(merged, named)
		if i < 0 {
			i = slices.IndexFunc(merged, renamed)
		}
		if i < 0 {
			merged = append(merged, port)
			continue
		}
		port.NodePort = merged[i].NodePort
		merged[i] = port
		merged = slices.DeleteFunc(merged, renamed) // upstream refuses two of them
	}
	return merged
}
