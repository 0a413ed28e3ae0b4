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

// blockingFactory are for parts of upstream that ask, in goroutines of their own,
// whether their informers have synced, and if not, again after 100 ms, for which the
// first writes would wait: admission policies, and the allocator of Service IPs. Here
// the answer comes when the informers have synced, or ctx ends.
type blockingFactory struct {
	clientgoinformers.SharedInformerFactory
	ctx context.Context
}

// Blocking returns the informers of factory for parts of upstream that poll them.
func Blocking(ctx context.Context, factory clientgoinformers.SharedInformerFactory) clientgoinformers.SharedInformerFactory {
	return blockingFactory{factory, ctx}
}

func (p blockingFactory) Admissionregistration() admissionregistration.Interface {
	return admissionregistration.New(p, metav1.NamespaceAll, nil)
}

func (p blockingFactory) Networking() networking.Interface {
	return networking.New(p, metav1.NamespaceAll, nil)
}

func (p blockingFactory) InformerFor(object runtime.Object, newFunc internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	informer := p.SharedInformerFactory.InformerFor(object, newFunc)
	switch object.(type) {
	case *admissionregistrationv1.ValidatingAdmissionPolicy, *admissionregistrationv1.ValidatingAdmissionPolicyBinding,
		*admissionregistrationv1.MutatingAdmissionPolicy, *admissionregistrationv1.MutatingAdmissionPolicyBinding,
		*networkingv1.ServiceCIDR, *networkingv1.IPAddress:
		return blockingInformer{informer, p.ctx}
	}
	return informer
}

// Start starts the informers for as long as the server runs. Admission would stop the informer
// of a built-in kind when the last policy with such parameters is gone. But the factory shares
// the informer and never starts it again: later policies would see no change.
func (p blockingFactory) Start(<-chan struct{}) { p.SharedInformerFactory.Start(p.ctx.Done()) }

type blockingInformer struct {
	cache.SharedIndexInformer
	ctx context.Context
}

func (p blockingInformer) HasSynced() bool {
	select {
	case <-p.HasSyncedChecker().Done():
		return true
	case <-p.ctx.Done():
		return false
	}
}
