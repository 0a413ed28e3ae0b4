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

// Tracked is an informer that knows how far its handlers have come. They are
// tracked by goroutines of their own, some microseconds after the store has changed,
// and a change of webhooks takes effect only then.
type Tracked struct {
	cache.SharedIndexInformer

	mu       sync.Mutex
	handlers map[cache.ResourceEventHandlerRegistration]*trackedHandler
}

// TrackHandlers has the informers of webhooks and policies made here, before
// others ask the factory for them.
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

// Delivered tells whether every handler has been tracked of so many changes at
// resourceVersion, or of what came after.
func (i *Tracked) Delivered(resourceVersion string, changes int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, handler := range i.handlers {
		last := handler.last.Load()
		order, err := resourceversion.CompareResourceVersion(last.resourceVersion, resourceVersion)
		if err != nil || order < 0 || order == 0 && last.changes < changes {
			return false
		}
	}
	return true
}

// Redeliver calls the handlers with an object that they have seen, as a resync does.
func (i *Tracked) Redeliver(object any) {
	i.mu.Lock()
	handlers := slices.Collect(maps.Values(i.handlers))
	i.mu.Unlock()
	for _, tracked := range handlers {
		tracked.mu.Lock()
		tracked.handler.OnUpdate(object, object)
		tracked.mu.Unlock()
	}
}

// NewTracked returns informer with handlers that are tracked.
func NewTracked(informer cache.SharedIndexInformer) *Tracked {
	return &Tracked{SharedIndexInformer: informer, handlers: map[cache.ResourceEventHandlerRegistration]*trackedHandler{}}
}

// AsMade returns the informer of a factory as it was made: it may be a Tracked. Since
// client-go 0.37 ForResource wraps it. It must exist.
func AsMade(factory clientgoinformers.SharedInformerFactory, example runtime.Object) cache.SharedIndexInformer {
	return factory.InformerFor(example, nil)
}

// AddEventHandler is cache.SharedIndexInformer's.
func (i *Tracked) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, cache.HandlerOptions{})
}

// AddEventHandlerWithResyncPeriod is cache.SharedIndexInformer's.
func (i *Tracked) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, resync time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, cache.HandlerOptions{ResyncPeriod: &resync})
}

// AddEventHandlerWithOptions is cache.SharedIndexInformer's.
func (i *Tracked) AddEventHandlerWithOptions(handler cache.ResourceEventHandler, options cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	tracked := &trackedHandler{handler: handler}
	tracked.last.Store(&delivered{resourceVersion: "1"})
	registration, err := i.SharedIndexInformer.AddEventHandlerWithOptions(tracked, options)
	if err == nil {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.handlers[registration] = tracked
	}
	return registration, err
}

// RemoveEventHandler is cache.SharedIndexInformer's.
func (i *Tracked) RemoveEventHandler(registration cache.ResourceEventHandlerRegistration) error {
	i.mu.Lock()
	delete(i.handlers, registration)
	i.mu.Unlock()
	return i.SharedIndexInformer.RemoveEventHandler(registration)
}

// trackedHandler remembers what it was tracked last.
type trackedHandler struct {
	mu      sync.Mutex // Handlers expect one call at a time.
	handler cache.ResourceEventHandler
	last    atomic.Pointer[delivered]
}

// delivered is a resource version, and how many changes had it: a transaction may
// have changed many objects.
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
	last, next := h.last.Load(), &delivered{resourceVersion: accessor.GetResourceVersion(), changes: 1}
	order, err := resourceversion.CompareResourceVersion(last.resourceVersion, next.resourceVersion)
	if err != nil || order > 0 {
		return
	}
	if order == 0 {
		next.changes += last.changes
	}
	h.last.Store(next)
}
