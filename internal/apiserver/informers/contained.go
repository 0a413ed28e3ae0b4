// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package informers

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/informers/admissionregistration"
	"k8s.io/client-go/informers/apiserverinternal"
	"k8s.io/client-go/informers/apps"
	"k8s.io/client-go/informers/autoscaling"
	"k8s.io/client-go/informers/batch"
	"k8s.io/client-go/informers/certificates"
	"k8s.io/client-go/informers/coordination"
	"k8s.io/client-go/informers/core"
	"k8s.io/client-go/informers/discovery"
	"k8s.io/client-go/informers/events"
	"k8s.io/client-go/informers/extensions"
	"k8s.io/client-go/informers/flowcontrol"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/informers/lifecycle"
	"k8s.io/client-go/informers/networking"
	"k8s.io/client-go/informers/node"
	"k8s.io/client-go/informers/policy"
	"k8s.io/client-go/informers/rbac"
	"k8s.io/client-go/informers/resource"
	"k8s.io/client-go/informers/scheduling"
	"k8s.io/client-go/informers/storage"
	"k8s.io/client-go/informers/storagemigration"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/hostcall"
)

// Container contains code of the host that informers call, in goroutines of client-go: a
// panic there would end the process.
type Container struct {
	Code   string // names the code in the log
	Logger *zap.Logger
}

// Factory returns the informers of factory for the host. Their event handlers, index
// functions and handlers of errors are contained. The host cannot end them: they run
// until ctx ends.
func (c Container) Factory(ctx context.Context, factory clientgoinformers.SharedInformerFactory) clientgoinformers.SharedInformerFactory {
	return containedFactory{factory, ctx, c}
}

// call calls f, a part of the code, and contains its panics.
func (c Container) call(part string, f func()) {
	defer func() {
		if value := recover(); value != nil {
			_ = hostcall.Exited(c.Logger, fmt.Sprintf("%s: %s", c.Code, part), &hostcall.Exit{Panic: value, Stack: debug.Stack()})
		}
	}()
	f()
}

type containedFactory struct {
	clientgoinformers.SharedInformerFactory
	ctx context.Context
	Container
}

// Start starts the informers. They are the server's, which needs them to the end.
func (f containedFactory) Start(<-chan struct{}) { f.SharedInformerFactory.StartWithContext(f.ctx) }

// StartWithContext is like Start.
func (f containedFactory) StartWithContext(context.Context) {
	f.SharedInformerFactory.StartWithContext(f.ctx)
}

// Shutdown does nothing: the server shuts its informers down.
func (containedFactory) Shutdown() {}

func (f containedFactory) InformerFor(object runtime.Object, newFunc internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	return containedInformer{f.SharedInformerFactory.InformerFor(object, newFunc), f.Container}
}

func (f containedFactory) ForResource(resource schema.GroupVersionResource) (clientgoinformers.GenericInformer, error) {
	informer, err := f.SharedInformerFactory.ForResource(resource)
	if err != nil {
		return nil, err
	}
	return containedGeneric{informer, f.Container}, nil
}

func (f containedFactory) Admissionregistration() admissionregistration.Interface {
	return admissionregistration.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Internal() apiserverinternal.Interface {
	return apiserverinternal.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Apps() apps.Interface {
	return apps.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Autoscaling() autoscaling.Interface {
	return autoscaling.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Batch() batch.Interface {
	return batch.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Certificates() certificates.Interface {
	return certificates.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Coordination() coordination.Interface {
	return coordination.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Core() core.Interface {
	return core.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Discovery() discovery.Interface {
	return discovery.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Events() events.Interface {
	return events.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Extensions() extensions.Interface {
	return extensions.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Flowcontrol() flowcontrol.Interface {
	return flowcontrol.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Lifecycle() lifecycle.Interface {
	return lifecycle.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Networking() networking.Interface {
	return networking.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Node() node.Interface {
	return node.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Policy() policy.Interface {
	return policy.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Rbac() rbac.Interface {
	return rbac.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Resource() resource.Interface {
	return resource.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Scheduling() scheduling.Interface {
	return scheduling.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Storage() storage.Interface {
	return storage.New(f, metav1.NamespaceAll, nil)
}

func (f containedFactory) Storagemigration() storagemigration.Interface {
	return storagemigration.New(f, metav1.NamespaceAll, nil)
}

type containedGeneric struct {
	clientgoinformers.GenericInformer
	Container
}

func (g containedGeneric) Informer() cache.SharedIndexInformer {
	return containedInformer{g.GenericInformer.Informer(), g.Container}
}

type containedInformer struct {
	cache.SharedIndexInformer
	Container
}

func (i containedInformer) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandler(containedHandler{handler, i.Container})
}

func (i containedInformer) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, resync time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandlerWithResyncPeriod(containedHandler{handler, i.Container}, resync)
}

func (i containedInformer) AddEventHandlerWithOptions(handler cache.ResourceEventHandler, options cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandlerWithOptions(containedHandler{handler, i.Container}, options)
}

func (i containedInformer) SetWatchErrorHandler(handler cache.WatchErrorHandler) error {
	return i.SharedIndexInformer.SetWatchErrorHandler(func(r *cache.Reflector, err error) {
		i.call("the handler of errors of a watch", func() { handler(r, err) })
	})
}

func (i containedInformer) SetWatchErrorHandlerWithContext(handler cache.WatchErrorHandlerWithContext) error {
	return i.SharedIndexInformer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		i.call("the handler of errors of a watch", func() { handler(ctx, r, err) })
	})
}

func (i containedInformer) AddIndexers(indexers cache.Indexers) error {
	return i.SharedIndexInformer.AddIndexers(i.indexers(indexers))
}

func (i containedInformer) GetIndexer() cache.Indexer {
	return containedIndexer{i.SharedIndexInformer.GetIndexer(), i.Container}
}

type containedIndexer struct {
	cache.Indexer
	Container
}

func (i containedIndexer) AddIndexers(indexers cache.Indexers) error {
	return i.Indexer.AddIndexers(i.indexers(indexers))
}

// indexers returns the index functions of the host. An object on which one fails is not
// in its index: client-go panics on an error.
func (c Container) indexers(indexers cache.Indexers) cache.Indexers {
	contained := cache.Indexers{}
	for name, index := range indexers {
		contained[name] = func(object any) (keys []string, _ error) {
			c.call(fmt.Sprintf("the index %q", name), func() {
				found, err := index(object)
				if err != nil {
					panic(err)
				}
				keys = found
			})
			return keys, nil
		}
	}
	return contained
}

type containedHandler struct {
	cache.ResourceEventHandler
	Container
}

const eventHandler = "an event handler"

func (h containedHandler) OnAdd(object any, initial bool) {
	h.call(eventHandler, func() { h.ResourceEventHandler.OnAdd(object, initial) })
}

func (h containedHandler) OnUpdate(before, after any) {
	h.call(eventHandler, func() { h.ResourceEventHandler.OnUpdate(before, after) })
}

func (h containedHandler) OnDelete(object any) {
	h.call(eventHandler, func() { h.ResourceEventHandler.OnDelete(object) })
}
