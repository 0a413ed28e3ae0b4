package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/resourcequota"
	quotainstall "k8s.io/kubernetes/pkg/quota/v1/install"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// syncTimeout is how long the garbage collector waits for informers, as
// upstream's does: custom resources whose conversion is broken must not keep it
// from all others.
const syncTimeout = 30 * time.Second

// objects starts the controllers of objects of every kind, the garbage
// collector and the resource quota, over the same informers.
func (r *run) objects() error {
	first, err := r.discovered()
	if err != nil {
		return err
	}
	changes := &changes{}
	if err := r.WatchAPIs(r.ctx, changes.notify); err != nil {
		return fmt.Errorf("objects: %w", err)
	}
	r.loop(func(ctx context.Context) {
		all := newObjectInformers(ctx, r.Informers, r.metadata, r.FirstUse)
		defer all.wait()
		if !all.sync(ctx, r.patient(ctx, changes, first)) {
			return
		}
		var running sync.WaitGroup
		defer running.Wait()
		if r.serves(resources("resourcequotas")) {
			running.Go(func() { r.quota(ctx, all, first, r.patient(ctx, changes, first)) })
		}
		r.garbage(ctx, all, r.patient(ctx, changes, first))
	})
	return nil
}

// sync starts the informers of all kinds and waits for them: the controllers
// themselves would look every 100 ms, and call it an error to be stopped before.
func (o *objectInformers) sync(ctx context.Context, resources *patient) bool {
	kinds, err := garbagecollector.GetDeletableResources(ctx, discovery.ToServerResourcesInterfaceWithContext(resources))
	if err != nil {
		return false
	}
	var checkers []cache.DoneChecker
	for kind := range kinds {
		if _, ignored := garbagecollector.DefaultIgnoredResources()[kind.GroupResource()]; ignored {
			continue
		}
		// Where there are no objects it has synced, and is not to be waited for.
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

// garbage deletes what is owned by what is gone, and orphans what is to be.
func (r *run) garbage(ctx context.Context, all *objectInformers, resources *patient) {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(r.client.Discovery()))
	// Run ends all that is begun here, when ctx ends, and not sooner.
	graph := garbagecollector.NewDependencyGraphBuilder(context.WithoutCancel(ctx), r.metadata, mapper,
		garbagecollector.DefaultIgnoredResources(), all, started)
	collector, err := garbagecollector.NewComposedGarbageCollector(context.WithoutCancel(ctx), r.client, r.metadata, mapper, graph)
	if err != nil {
		r.Logger.Error("no garbage is collected", zap.Error(err))
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { collector.Sync(ctx, resources, discoverPause) })
	running.Go(func() { r.migrations(ctx, all, graph, mapper) })
	timeout, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	_ = lifecycle.Poll(timeout, func() bool { return collector.IsSynced(klog.FromContext(ctx)) })
	collector.Run(ctx, manyWorkers, syncTimeout)
}

// quotaResync is how often all quotas are computed anew. Upstream has 5 minutes,
// in which one is wrong that counts an API of which the controller did not know
// yet, or whose last object was deleted before it had seen that it was counted.
const quotaResync = 30 * time.Second

// quota computes how much of each ResourceQuota is used. That it is not
// exceeded is up to an admission plugin.
func (r *run) quota(ctx context.Context, all *objectInformers, first []*metav1.APIResourceList, discovery *patient) {
	quotas, err := quotainstall.NewQuotaConfigurationForControllers(generic.ListerFuncForResourceFunc(all.ForResource), r.Informers)
	if err != nil {
		r.Logger.Error("resource quotas get no status", zap.Error(err))
		return
	}
	controller, err := resourcequota.NewController(ctx, &resourcequota.ControllerOptions{
		QuotaClient:               r.client.CoreV1(),
		ResourceQuotaInformer:     r.Informers.Core().V1().ResourceQuotas(),
		ResyncPeriod:              controller.StaticResyncPeriodFunc(quotaResync),
		InformerFactory:           all,
		ReplenishmentResyncPeriod: controller.NoResyncPeriodFunc,
		DiscoveryFunc:             func() ([]*metav1.APIResourceList, error) { return namespaced(first), nil },
		IgnoredResourcesFunc:      quotas.IgnoredResources,
		InformersStarted:          started,
		Registry:                  generic.NewRegistry(quotas.Evaluators()),
		UpdateFilter:              quotainstall.DefaultUpdateFilter(),
	})
	if err != nil {
		r.Logger.Error("resource quotas get no status", zap.Error(err))
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { controller.Sync(ctx, discovery.ServerPreferredNamespacedResources, discoverPause) })
	controller.Run(ctx, workers)
}

// started says that no controller has to wait until all have been constructed.
var started = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()
