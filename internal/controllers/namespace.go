// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/kubernetes/pkg/controller/namespace/deletion"
)

// namespaceGracePeriod is upstream's pause between the deletion of a namespace and that
// of its content. Until then other API servers have seen the deletion and admit no more
// objects, and requests that were admitted before it have ended. Tests change it.
var namespaceGracePeriod = 5 * time.Second

const (
	// contentPause is the first of the growing pauses while content remains, for
	// example pods that a kubelet stops.
	contentPause = 50 * time.Millisecond
	// maxNamespacePause is upstream's longest pause after an error.
	maxNamespacePause = time.Minute
)

// namespaceDeleter deletes the content of deleted namespaces and then the namespaces.
// Upstream's controller, k8s.io/kubernetes/pkg/controller/namespace, always waits for the
// grace period. This one begins when the mutating requests have ended that were in flight
// at the deletion, unless another API server can create objects. Requests that hang delay
// it no longer than upstream's.
type namespaceDeleter struct {
	*run
	content deletion.NamespacedResourcesDeleterInterface
	queue   workqueue.TypedRateLimitingInterface[string]
	pauses  workqueue.TypedRateLimiter[string] // while content remains

	mu      sync.Mutex
	waits   map[string]time.Time // the ends of the grace periods that have not been skipped
	deleted []deletedNamespace   // that may need no grace period
	wake    chan struct{}        // has room for one; deleted has grown
}

// deletedNamespace is one deletion of a namespace.
type deletedNamespace struct {
	name  string
	grace time.Time // the end of its grace period
}

// namespaces starts the namespaceDeleter.
func (r *run) namespaces() error {
	initial, err := r.discover()
	if err != nil {
		return err
	}
	d := &namespaceDeleter{
		run: r,
		content: deletion.NewNamespacedResourcesDeleter(r.ctx, r.client.CoreV1().Namespaces(), r.metadata, r.client.CoreV1(),
			func() ([]*metav1.APIResourceList, error) {
				if known := initial; known != nil {
					initial = nil // for the constructor: upstream exits the process if this call fails
					return namespaced(known), nil
				}
				all, err := r.client.Discovery().ServerPreferredNamespacedResources()
				return r.used(all), err
			}, corev1.FinalizerKubernetes),
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(workqueue.NewTypedMaxOfRateLimiter( // upstream's
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](5*time.Millisecond, maxNamespacePause),
			&workqueue.TypedBucketRateLimiter[string]{Limiter: rate.NewLimiter(10, 100)},
		), workqueue.TypedRateLimitingQueueConfig[string]{Name: "namespace"}),
		pauses: workqueue.NewTypedItemExponentialFailureRateLimiter[string](contentPause, maxNamespacePause),
		waits:  map[string]time.Time{},
		wake:   make(chan struct{}, 1),
	}
	informer := r.Informers.Core().V1().Namespaces().Informer()
	registration, err := informer.AddEventHandlerWithResyncPeriod(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { d.observe(&corev1.Namespace{}, object.(*corev1.Namespace)) },
		UpdateFunc: func(before, after any) { d.observe(before.(*corev1.Namespace), after.(*corev1.Namespace)) },
	}, resync)
	if err != nil {
		return fmt.Errorf("namespaces: %w", err)
	}
	r.loop(func(ctx context.Context) {
		defer func() { _ = informer.RemoveEventHandler(registration) }() // it is one of the informer's
		d.work(ctx)
	})
	return nil
}

// observe queues a deleted namespace.
func (d *namespaceDeleter) observe(before, after *corev1.Namespace) {
	if after.DeletionTimestamp.IsZero() {
		return
	}
	d.queue.AddAfter(after.Name, namespaceGracePeriod)
	if !before.DeletionTimestamp.IsZero() {
		return
	}
	d.mu.Lock()
	grace := time.Now().Add(namespaceGracePeriod)
	d.waits[after.Name] = grace
	if d.WaitForWrites != nil {
		d.deleted = append(d.deleted, deletedNamespace{after.Name, grace})
	}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *namespaceDeleter) work(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	defer d.queue.ShutDown()
	for range deletionWorkers {
		running.Go(func() {
			for d.next(ctx) {
			}
		})
	}
	for {
		select {
		case <-d.wake:
			d.skipGracePeriod(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// skipGracePeriod queues the deleted namespaces as soon as the requests in flight have
// ended. Other namespaces may be deleted meanwhile.
func (d *namespaceDeleter) skipGracePeriod(ctx context.Context) {
	d.mu.Lock()
	deleted := d.deleted
	d.deleted = nil
	d.mu.Unlock()
	timeout, cancel := context.WithTimeout(ctx, namespaceGracePeriod)
	defer cancel()
	if len(deleted) == 0 || d.WaitForWrites(timeout) != nil || d.othersCreate(timeout) {
		return // the grace period remains
	}
	for _, namespace := range deleted {
		d.mu.Lock()
		latest := d.waits[namespace.name].Equal(namespace.grace)
		if latest { // not deleted again since
			delete(d.waits, namespace.name)
		}
		d.mu.Unlock()
		if latest {
			d.queue.Add(namespace.name)
		}
	}
}

// mustWait returns the rest of the grace period of a namespace. An earlier namespace of
// the same name may have queued it.
func (d *namespaceDeleter) mustWait(name string) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	rest := time.Until(d.waits[name])
	if rest <= 0 {
		delete(d.waits, name)
	}
	return rest
}

// used omits the resources that have never had objects: the server prepares a custom
// resource when a client first lists it.
func (r *run) used(all []*metav1.APIResourceList) []*metav1.APIResourceList {
	if r.FirstUse == nil {
		return all
	}
	return discovery.FilteredBy(discovery.ResourcePredicateFunc(func(groupVersion string, resource *metav1.APIResource) bool {
		gv, err := schema.ParseGroupVersion(groupVersion)
		if err != nil {
			return true
		}
		select {
		case <-r.FirstUse(r.ctx, schema.GroupResource{Group: gv.Group, Resource: resource.Name}):
			return true
		default:
			return false
		}
	}), all)
}

// othersCreate reports whether an aggregated API server may create namespaced objects. It
// learns of the deletion of a namespace by a watch, at a time that is not known here.
func (d *namespaceDeleter) othersCreate(ctx context.Context) bool {
	for _, gv := range d.AggregatedAPIs() {
		list, err := discovery.ToServerResourcesInterfaceWithContext(d.client.Discovery()).ServerResourcesForGroupVersionWithContext(ctx, gv.String())
		if err != nil {
			return true
		}
		for i := range list.APIResources {
			if r := &list.APIResources[i]; r.Namespaced && slices.Contains(r.Verbs, "create") {
				return true
			}
		}
	}
	return false
}

// next handles the next namespace in the queue, and reports whether there can be another.
func (d *namespaceDeleter) next(ctx context.Context) bool {
	name, stopped := d.queue.Get()
	if stopped {
		return false
	}
	defer d.queue.Done(name)
	if rest := d.mustWait(name); rest > 0 {
		d.queue.AddAfter(name, rest)
		return true
	}
	sync, end := d.Syncs.begin(ctx)
	defer end()
	err := d.content.Delete(sync, name)
	if remaining, ok := errors.AsType[*deletion.ResourcesRemainingError](err); ok {
		pause := time.Duration(remaining.Estimate/2+1) * time.Second // upstream's
		d.queue.AddAfter(name, min(pause, d.pauses.When(name)))
		return true
	}
	if err != nil {
		if sync.Err() == nil {
			utilruntime.HandleErrorWithContext(ctx, err, "Deletion of namespace failed", "namespace", name)
		}
		d.queue.AddRateLimited(name)
		return true
	}
	d.queue.Forget(name)
	d.pauses.Forget(name)
	return true
}
