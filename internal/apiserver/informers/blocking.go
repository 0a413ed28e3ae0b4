// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package informers

import (
	"context"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/informers/admissionregistration"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/informers/networking"
	"k8s.io/client-go/tools/cache"
)

// blockingFactory is the factory that Blocking returns.
type blockingFactory struct {
	clientgoinformers.SharedInformerFactory
	ctx                  context.Context
	validating, mutating *passes
}

// Blocking returns the informers of factory with a HasSynced that blocks until the
// informer has synced or ctx ends.
//
// It is for admission policies and the allocator of Service IPs. They call HasSynced in
// goroutines of their own and, if it returns false, call it again after 100 ms. The first
// writes would wait for that. For policies HasSynced also blocks until they have changed:
// see passes.
func Blocking(ctx context.Context, factory clientgoinformers.SharedInformerFactory) clientgoinformers.SharedInformerFactory {
	return blockingFactory{factory, ctx, newPasses(), newPasses()}
}

func (f blockingFactory) Admissionregistration() admissionregistration.Interface {
	return admissionregistration.New(f, metav1.NamespaceAll, nil)
}

func (f blockingFactory) Networking() networking.Interface {
	return networking.New(f, metav1.NamespaceAll, nil)
}

func (f blockingFactory) InformerFor(object runtime.Object, newFunc internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	informer := f.SharedInformerFactory.InformerFor(object, newFunc)
	blocking := blockingInformer{informer, f.ctx}
	switch object.(type) {
	case *admissionregistrationv1.ValidatingAdmissionPolicy:
		return f.validating.policies(blocking)
	case *admissionregistrationv1.ValidatingAdmissionPolicyBinding:
		return f.validating.bindings(blocking)
	case *admissionregistrationv1.MutatingAdmissionPolicy:
		return f.mutating.policies(blocking)
	case *admissionregistrationv1.MutatingAdmissionPolicyBinding:
		return f.mutating.bindings(blocking)
	case *networkingv1.ServiceCIDR, *networkingv1.IPAddress:
		return blocking
	}
	return informer
}

// Start starts the informers until ctx ends, and ignores its argument. Admission would
// stop the informer of a built-in kind when the last policy with such parameters is
// deleted. The factory shares the informer and never starts it again, so that later
// policies would see no changes.
func (f blockingFactory) Start(<-chan struct{}) { f.SharedInformerFactory.StartWithContext(f.ctx) }

type blockingInformer struct {
	cache.SharedIndexInformer
	ctx context.Context
}

func (i blockingInformer) HasSynced() bool {
	select {
	case <-i.HasSyncedChecker().Done():
		return true
	case <-i.ctx.Done():
		return false
	}
}
