// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// syncTimeout bounds the wait of the garbage collector for informers, as upstream: custom
// resources with a broken conversion must not block all others.
const syncTimeout = 30 * time.Second

const (
	// newKindTimeout is the same for a kind that is new.
	newKindTimeout = time.Second
	// syncPause is the time between two syncs of the kinds that a controller watches. A
	// sync waits as long for informers, which have synced before.
	syncPause = 10 * time.Millisecond
)

// allKinds starts the controllers of objects of all kinds, the garbage collector and the
// quota controller, with the same informers.
func (r *run) allKinds() error {
	initial, err := r.discover()
	if err != nil {
		return err
	}
	apis := newAPIDiscovery(initial)
	apis.discover, apis.complete = r.client.Discovery().ServerPreferredResources, r.APIsDiscovered
	if err := r.WatchAPIs(r.ctx, apis.notify); err != nil {
		return fmt.Errorf("watching the APIs: %w", err)
	}
	r.loop(func(ctx context.Context) {
		all := newObjectInformers(ctx, r.Informers, r.metadata, r.FirstUse)
		defer all.wait()
		if !all.sync(ctx, initial, syncTimeout) {
			return
		}
		var running sync.WaitGroup
		defer running.Wait()
		apis.prepare = func(ctx context.Context, resources []*metav1.APIResourceList) {
			all.sync(ctx, resources, newKindTimeout)
		}
		running.Go(func() { apis.run(ctx) })
		answers := func() *blockingDiscovery {
			return &blockingDiscovery{DiscoveryInterface: r.client.Discovery(), ctx: ctx, apis: apis}
		}
		if r.serves(resources("resourcequotas")) {
			running.Go(func() { r.computeQuota(ctx, all, initial, answers()) })
		}
		r.collectGarbage(ctx, all, apis, answers())
	})
	return nil
}

// sync starts the informers of all kinds and waits for those of new kinds. It stops
// informers of other kinds that no controller has asked for. The controllers themselves
// would poll every 100 ms, and log a stop during the wait as an error.
func (o *objectInformers) sync(ctx context.Context, resources []*metav1.APIResourceList, limit time.Duration) bool {
	kinds := graphKinds(ctx, resources)
	o.stopUnused(kinds)
	var added []*objectInformer
	for kind := range kinds {
		if slices.Contains(shared[kind.GroupVersion()], kind.Resource) {
			continue
		}
		if informer, isNew, err := o.ofObjects(kind); err == nil && isNew {
			added = append(added, informer)
		}
	}
	o.Start(ctx.Done())
	timeout, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, informer := range added {
		informer.waitSynced(timeout)
	}
	return ctx.Err() == nil
}

// graphKinds returns the kinds that the garbage collector watches.
func graphKinds(ctx context.Context, resources []*metav1.APIResourceList) map[schema.GroupVersionResource]struct{} {
	// The error is that of a discovery, and known has none.
	kinds, _ := garbagecollector.GetDeletableResources(ctx, discovery.ToServerResourcesInterfaceWithContext(known{resources: resources}))
	ignored := garbagecollector.DefaultIgnoredResources()
	maps.DeleteFunc(kinds, func(kind schema.GroupVersionResource, _ struct{}) bool {
		_, ok := ignored[kind.GroupResource()]
		return ok
	})
	return kinds
}

// known is the result of a discovery.
type known struct {
	discovery.DiscoveryInterface
	resources []*metav1.APIResourceList
}

func (k known) ServerPreferredResources() ([]*metav1.APIResourceList, error) {
	return k.resources, nil
}

// collectGarbage runs the garbage collector, which deletes or orphans dependents of
// deleted objects, and the storage version migrator.
func (r *run) collectGarbage(ctx context.Context, all *objectInformers, apis *apiDiscovery, resources *blockingDiscovery) {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(r.client.Discovery()))
	// collector.Run stops its parts when ctx ends. They must not stop before.
	graph := garbagecollector.NewDependencyGraphBuilder(context.WithoutCancel(ctx), r.metadata, mapper,
		garbagecollector.DefaultIgnoredResources(), newOwnerGraph(ctx, all, apis, r.Acknowledged, r.Syncs), started)
	collector, err := garbagecollector.NewComposedGarbageCollector(context.WithoutCancel(ctx), r.client, r.metadata, mapper, graph)
	if err != nil {
		r.Logger.Error("the garbage collector does not run", zap.Error(err))
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { collector.Sync(ctx, resources, syncPause) })
	running.Go(func() { r.migrateStorageVersions(ctx, all, graph, mapper) })
	timeout, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	_ = lifecycle.Poll(timeout, func() bool { return collector.IsSynced(klog.FromContext(ctx)) })
	collector.Run(ctx, deletionWorkers, syncTimeout)
}

// started is a closed channel: the controllers need not wait for the informers.
var started = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()
