// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package servicecidr manages the ranges of Service cluster IPs: it validates them, makes
// the default ServiceCIDR, compares it with that of stored objects, and waits for
// upstream's allocators.
package servicecidr

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/pkg/apis/networking"
	"k8s.io/kubernetes/pkg/controlplane/controller/defaultservicecidr"
)

// Default is the default range.
const Default = "10.0.0.0/24"

// Object returns the default ServiceCIDR.
func Object(ranges Ranges) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{
		TypeMeta:   metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "ServiceCIDR"},
		ObjectMeta: metav1.ObjectMeta{Name: defaultservicecidr.DefaultServiceCIDRName},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: ranges.Texts()},
	}
}

// MarkReady sets the condition that upstream's controller sets on the default ServiceCIDR
// after its creation. The strategy of a creation resets the status.
func MarkReady(cidr *networking.ServiceCIDR) {
	meta.SetStatusCondition(&cidr.Status.Conditions, metav1.Condition{
		Type:    networkingv1.ServiceCIDRConditionReady,
		Status:  metav1.ConditionTrue,
		Message: "Kubernetes default Service CIDR is ready",
	})
}

// Run keeps the default ServiceCIDR until ctx ends, as upstream's start hook does. It
// adds a second range to a stored one.
func Run(ctx context.Context, ranges Ranges, client kubernetes.Interface) {
	defaultservicecidr.NewController(*ranges[0], ranges.Secondary(), client).Start(ctx)
}
