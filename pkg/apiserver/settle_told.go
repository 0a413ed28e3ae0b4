package apiserver

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

// toldInformer is an informer that knows how far its handlers have come. They are
// told by goroutines of their own, some microseconds after the store has changed,
// and a change of webhooks takes effect only then.
type toldInformer struct {
	cache.SharedIndexInformer

	mu       sync.Mutex
	handlers map[cache.ResourceEventHandlerRegistration]*toldHandler
}

// tellInformers has the informers of webhooks and policies made here, before
// others ask the factory for them.
func tellInformers(factory clientgoinformers.SharedInformerFactory) {
	type newInformer func(kubernetes.Interface, time.Duration, cache.Indexers) cache.SharedIndexInformer
	add := func(object runtime.Object, informer newInformer) {
		factory.InformerFor(object, func(client kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
			return &toldInformer{
				SharedIndexInformer: informer(client, resync, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}),
				handlers:            map[cache.ResourceEventHandlerRegistration]*toldHandler{},
			}
		})
	}
	add(&admissionregistrationv1.ValidatingWebhookConfiguration{}, admissioninformers.NewValidatingWebhookConfigurationInformer)
	add(&admissionregistrationv1.MutatingWebhookConfiguration{}, admissioninformers.NewMutatingWebhookConfigurationInformer)
	add(&admissionregistrationv1.ValidatingAdmissionPolicy{}, admissioninformers.NewValidatingAdmissionPolicyInformer)
	add(&admissionregistrationv1.ValidatingAdmissionPolicyBinding{}, admissioninformers.NewValidatingAdmissionPolicyBindingInformer)
	add(&admissionregistrationv1.MutatingAdmissionPolicy{}, admissioninformers.NewMutatingAdmissionPolicyInformer)
	add(&admissionregistrationv1.MutatingAdmissionPolicyBinding{}, admissioninformers.NewMutatingAdmissionPolicyBindingInformer)
}

// at tells whether every handler has been told of so many changes at
// resourceVersion, or of what came after.
func (i *toldInformer) at(resourceVersion string, changes int) bool {
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

// again calls the handlers with an object that they have seen, as a resync does.
func (i *toldInformer) again(object any) {
	i.mu.Lock()
	handlers := slices.Collect(maps.Values(i.handlers))
	i.mu.Unlock()
	for _, told := range handlers {
		told.mu.Lock()
		told.handler.OnUpdate(object, object)
		told.mu.Unlock()
	}
}

func (i *toldInformer) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, cache.HandlerOptions{})
}

func (i *toldInformer) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, resync time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, cache.HandlerOptions{ResyncPeriod: &resync})
}

func (i *toldInformer) AddEventHandlerWithOptions(handler cache.ResourceEventHandler, options cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	told := &toldHandler{handler: handler}
	told.last.Store(&lastTold{resourceVersion: "1"})
	registration, err := i.SharedIndexInformer.AddEventHandlerWithOptions(told, options)
	if err == nil {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.handlers[registration] = told
	}
	return registration, err
}

func (i *toldInformer) RemoveEventHandler(registration cache.ResourceEventHandlerRegistration) error {
	i.mu.Lock()
	delete(i.handlers, registration)
	i.mu.Unlock()
	return i.SharedIndexInformer.RemoveEventHandler(registration)
}

// toldHandler remembers what it was told last.
type toldHandler struct {
	mu      sync.Mutex // Handlers expect one call at a time.
	handler cache.ResourceEventHandler
	last    atomic.Pointer[lastTold]
}

// lastTold is a resource version, and how many changes had it: a transaction may
// have changed many objects.
type lastTold struct {
	resourceVersion string
	changes         int
}

func (h *toldHandler) OnAdd(object any, initial bool) {
	h.tell(object, func() { h.handler.OnAdd(object, initial) })
}

func (h *toldHandler) OnUpdate(before, after any) {
	h.tell(after, func() { h.handler.OnUpdate(before, after) })
}

func (h *toldHandler) OnDelete(object any) {
	h.tell(object, func() { h.handler.OnDelete(object) })
}

func (h *toldHandler) tell(object any, handle func()) {
	h.mu.Lock()
	handle()
	h.mu.Unlock()
	accessor, err := meta.Accessor(object)
	if err != nil {
		return
	}
	last, next := h.last.Load(), &lastTold{resourceVersion: accessor.GetResourceVersion(), changes: 1}
	order, err := resourceversion.CompareResourceVersion(last.resourceVersion, next.resourceVersion)
	if err != nil || order > 0 {
		return
	}
	if order == 0 {
		next.changes += last.changes
	}
	h.last.Store(next)
}
