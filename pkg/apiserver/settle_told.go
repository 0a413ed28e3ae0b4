package apiserver

import (
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
// and for webhooks and policies it is they who make a change count.
type toldInformer struct {
	cache.SharedIndexInformer
	indexer  cache.Indexer
	policies *policyKind // nil for webhooks

	mu       sync.Mutex
	handlers map[cache.ResourceEventHandlerRegistration]*toldHandler
}

// policyKind tells whether admission has not compiled the policies of a kind since
// they have changed.
type policyKind struct{ stale atomic.Bool }

// tellInformers has the informers of webhooks and policies made here, before
// others ask the factory for them.
func tellInformers(factory clientgoinformers.SharedInformerFactory) {
	type newInformer func(kubernetes.Interface, time.Duration, cache.Indexers) cache.SharedIndexInformer
	add := func(object runtime.Object, informer newInformer, policies *policyKind, bindings bool) {
		factory.InformerFor(object, func(client kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
			inner := informer(client, resync, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
			told := &toldInformer{
				SharedIndexInformer: inner, indexer: inner.GetIndexer(), policies: policies,
				handlers: map[cache.ResourceEventHandlerRegistration]*toldHandler{},
			}
			if bindings {
				told.indexer = compilerIndexer{inner.GetIndexer(), policies}
			}
			return told
		})
	}
	add(&admissionregistrationv1.ValidatingWebhookConfiguration{}, admissioninformers.NewValidatingWebhookConfigurationInformer, nil, false)
	add(&admissionregistrationv1.MutatingWebhookConfiguration{}, admissioninformers.NewMutatingWebhookConfigurationInformer, nil, false)
	policies := func(policy, binding runtime.Object, newPolicy, newBinding newInformer) {
		kind := &policyKind{}
		add(policy, newPolicy, kind, false)
		add(binding, newBinding, kind, true)
	}
	policies(&admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{},
		admissioninformers.NewValidatingAdmissionPolicyInformer, admissioninformers.NewValidatingAdmissionPolicyBindingInformer)
	policies(&admissionregistrationv1.MutatingAdmissionPolicy{}, &admissionregistrationv1.MutatingAdmissionPolicyBinding{},
		admissioninformers.NewMutatingAdmissionPolicyInformer, admissioninformers.NewMutatingAdmissionPolicyBindingInformer)
}

// compilerIndexer has the bindings of policies. Whoever compiles the policies lists
// it first, and nobody else does. What has been stored when a handler is called
// is in that list.
type compilerIndexer struct {
	cache.Indexer
	policies *policyKind
}

func (i compilerIndexer) List() []any {
	i.policies.stale.Store(false)
	return i.Indexer.List()
}

func (i *toldInformer) GetIndexer() cache.Indexer { return i.indexer }

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

func (i *toldInformer) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, cache.HandlerOptions{})
}

func (i *toldInformer) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, resync time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, cache.HandlerOptions{ResyncPeriod: &resync})
}

func (i *toldInformer) AddEventHandlerWithOptions(handler cache.ResourceEventHandler, options cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return i.add(handler, options, nil)
}

// addCompiler adds the handler of admission, which compiles the policies after it was
// told. Others, those of the garbage collector and of quotas, may be told later.
func (i *toldInformer) addCompiler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return i.add(handler, cache.HandlerOptions{}, i.policies)
}

func (i *toldInformer) add(handler cache.ResourceEventHandler, options cache.HandlerOptions, policies *policyKind) (cache.ResourceEventHandlerRegistration, error) {
	told := &toldHandler{handler: handler, policies: policies}
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
	handler  cache.ResourceEventHandler
	policies *policyKind // nil unless it is admission's
	last     atomic.Pointer[lastTold]
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
	if h.policies != nil {
		h.policies.stale.Store(true)
	}
	handle()
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
