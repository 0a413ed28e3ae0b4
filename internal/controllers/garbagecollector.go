// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// syncTimeout bounds the wait of the garbage collector for informers, as upstream: custom
// resources with a broken conversion must not block all others.
const syncTimeout = 30 * time.Second

// allKinds starts the controllers of objects of all kinds, the garbage collector and the
// quota controller, with the same informers.
func (r *run) allKinds() error {
	initial, err := r.discover()
	if err != nil {
		return err
	}
	changes := &apiChanges{}
	if err := r.WatchAPIs(r.ctx, changes.notify); err != nil {
		return fmt.Errorf("watching the APIs: %w", err)
	}
	r.loop(func(ctx context.Context) {
		all := newObjectInformers(ctx, r.Informers, r.metadata, r.FirstUse)
		defer all.wait()
		if !all.sync(ctx, r.newBlockingDiscovery(ctx, changes, initial)) {
			return
		}
		var running sync.WaitGroup
		defer running.Wait()
		if r.serves(resources("resourcequotas")) {
			running.Go(func() { r.computeQuota(ctx, all, initial, r.newBlockingDiscovery(ctx, changes, initial)) })
		}
		r.collectGarbage(ctx, all, r.newBlockingDiscovery(ctx, changes, initial))
	})
	return nil
}

// sync starts the informers of all kinds and waits for them. The controllers themselves
// would poll every 100 ms, and log a stop during the wait as an error.
func (o *objectInformers) sync(ctx context.Context, resources *blockingDiscovery) bool {
	kinds, err := garbagecollector.GetDeletableResources(ctx, discovery.ToServerResourcesInterfaceWithContext(resources))
	if err != nil {
		return false
	}
	var checkers []cache.DoneChecker
	for kind := range kinds {
		if _, ignored := garbagecollector.DefaultIgnoredResources()[kind.GroupResource()]; ignored {
			continue
		}
		// An informer without objects has synced.
		if informer, err := o.ForResource(kind); err == nil && !informer.Informer().HasSynced() {
			checkers = append(checkers, informer.Informer().HasSyncedChecker())
		}
	}
	o.Start(ctx.Done())
	timeout, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	cache.WaitFor(timeout, "", checkers...)
	return ctx.Err() == nil
}

// collectGarbage runs the garbage collector, which deletes or orphans dependents of
// deleted objects, and the storage version migrator.
func (r *run) collectGarbage(ctx context.Context, all *objectInformers, resources *blockingDiscovery) {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(r.client.Discovery()))
	// collector.Run stops its parts when ctx ends. They must not stop before.
	graph := garbagecollector.NewDependencyGraphBuilder(context.WithoutCancel(ctx), r.metadata, mapper,
		garbagecollector.DefaultIgnoredResources(), all, started)
	collector, err := garbagecollector.NewComposedGarbageCollector(context.WithoutCancel(ctx), r.client, r.metadata, mapper, graph)
	if err != nil {
		r.Logger.Error("the garbage collector does not run", zap.Error(err))
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { collector.Sync(ctx, resources, discoveryPause) })
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
