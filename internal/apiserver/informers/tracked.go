// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package informers

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	clientgoinformers "k8s.io/client-go/informers"
	admissioninformers "k8s.io/client-go/informers/admissionregistration/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Tracked is an informer that records which changes its handlers have processed. Handlers
// run in goroutines of their own, some microseconds after the store has changed. A change
// of webhooks takes effect only when they have run.
type Tracked struct {
	cache.SharedIndexInformer

	mu       sync.Mutex
	handlers map[cache.ResourceEventHandlerRegistration]*trackedHandler
}

// TrackHandlers makes factory create Tracked informers for webhooks and policies. It must
// be called before anything else asks the factory for them.
func TrackHandlers(factory clientgoinformers.SharedInformerFactory) {
	type newInformer func(kubernetes.Interface, time.Duration, cache.Indexers) cache.SharedIndexInformer
	add := func(object runtime.Object, informer newInformer) {
		factory.InformerFor(object, func(client kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
			return NewTracked(informer(client, resync, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}))
		})
	}
	add(&admissionregistrationv1.ValidatingWebhookConfiguration{}, admissioninformers.NewValidatingWebhookConfigurationInformer)
	add(&admissionregistrationv1.MutatingWebhookConfiguration{}, admissioninformers.NewMutatingWebhookConfigurationInformer)
	add(&admissionregistrationv1.ValidatingAdmissionPolicy{}, admissioninformers.NewValidatingAdmissionPolicyInformer)
	add(&admissionregistrationv1.ValidatingAdmissionPolicyBinding{}, admissioninformers.NewValidatingAdmissionPolicyBindingInformer)
	add(&admissionregistrationv1.MutatingAdmissionPolicy{}, admissioninformers.NewMutatingAdmissionPolicyInformer)
	add(&admissionregistrationv1.MutatingAdmissionPolicyBinding{}, admissioninformers.NewMutatingAdmissionPolicyBindingInformer)
}

// Delivered reports whether every handler has processed this number of changes at
// resourceVersion, or a later change. A transaction may change several objects at one
// resourceVersion.
func (i *Tracked) Delivered(resourceVersion string, changes int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, handler := range i.handlers {
		newest := handler.newest.Load()
		order, err := resourceversion.CompareResourceVersion(newest.resourceVersion, resourceVersion)
		if err != nil || order < 0 || order == 0 && newest.changes < changes {
			return false
		}
	}
	return true
}

// Redeliver calls the handlers with an object that they have processed before, as a
// resync does.
func (i *Tracked) Redeliver(object any) {
	i.mu.Lock()
	handlers := slices.Collect(maps.Values(i.handlers))
	i.mu.Unlock()
	for _, handler := range handlers {
		handler.mu.Lock()
		handler.handler.OnUpdate(object, object)
		handler.mu.Unlock()
	}
}

// NewTracked returns informer with tracked handlers.
func NewTracked(informer cache.SharedIndexInformer) *Tracked {
	return &Tracked{SharedIndexInformer: informer, handlers: map[cache.ResourceEventHandlerRegistration]*trackedHandler{}}
}

// AsMade returns the informer that factory has for the type of example, which must exist.
// The result may be a Tracked; since client-go 0.37 ForResource wraps it.
func AsMade(factory clientgoinformers.SharedInformerFactory, example runtime.Object) cache.SharedIndexInformer {
	return factory.InformerFor(example, nil)
}

// AddEventHandler implements cache.SharedIndexInformer.
func (i *Tracked) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, cache.HandlerOptions{})
}

// AddEventHandlerWithResyncPeriod implements cache.SharedIndexInformer.
func (i *Tracked) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, resync time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, cache.HandlerOptions{ResyncPeriod: &resync})
}

// AddEventHandlerWithOptions implements cache.SharedIndexInformer.
func (i *Tracked) AddEventHandlerWithOptions(handler cache.ResourceEventHandler, options cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	tracked := &trackedHandler{handler: handler}
	tracked.newest.Store(&delivered{resourceVersion: "1"})
	registration, err := i.SharedIndexInformer.AddEventHandlerWithOptions(tracked, options)
	if err == nil {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.handlers[registration] = tracked
	}
	return registration, err
}

// RemoveEventHandler implements cache.SharedIndexInformer.
func (i *Tracked) RemoveEventHandler(registration cache.ResourceEventHandlerRegistration) error {
	i.mu.Lock()
	delete(i.handlers, registration)
	i.mu.Unlock()
	return i.SharedIndexInformer.RemoveEventHandler(registration)
}

// trackedHandler records the last change that it has processed.
type trackedHandler struct {
	mu      sync.Mutex // handlers expect one call at a time
	handler cache.ResourceEventHandler
	newest  atomic.Pointer[delivered]
}

// delivered is a resource version and the number of processed changes that have it.
type delivered struct {
	resourceVersion string
	changes         int
}

func (h *trackedHandler) OnAdd(object any, initial bool) {
	h.deliver(object, func() { h.handler.OnAdd(object, initial) })
}

func (h *trackedHandler) OnUpdate(before, after any) {
	h.deliver(after, func() { h.handler.OnUpdate(before, after) })
}

func (h *trackedHandler) OnDelete(object any) {
	h.deliver(object, func() { h.handler.OnDelete(object) })
}

func (h *trackedHandler) deliver(object any, handle func()) {
	h.mu.Lock()
	handle()
	h.mu.Unlock()
	accessor, err := meta.Accessor(object)
	if err != nil {
		return
	}
	newest, next := h.newest.Load(), &delivered{resourceVersion: accessor.GetResourceVersion(), changes: 1}
	order, err := resourceversion.CompareResourceVersion(newest.resourceVersion, next.resourceVersion)
	if err != nil || order > 0 {
		return
	}
	if order == 0 {
		next.changes += newest.changes
	}
	h.newest.Store(next)
}
