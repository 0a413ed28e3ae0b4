// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	coreinformers "k8s.io/client-go/informers/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/controller"
	"k8s.io/kubernetes/pkg/controller/resourcequota"
	quotainstall "k8s.io/kubernetes/pkg/quota/v1/install"
)

// quotaResync is the period in which all quotas are recomputed. Upstream has 5 minutes,
// in which a quota remains wrong if the controller computed it before its informer had
// the last change by admission.
const quotaResync = 30 * time.Second

// computeQuota runs the controller that computes the usage of each ResourceQuota. An
// admission plugin enforces it.
func (r *run) computeQuota(ctx context.Context, all *objectInformers, initial []*metav1.APIResourceList, discovery *blockingDiscovery) {
	quotas, err := quotainstall.NewQuotaConfigurationForControllers(generic.ListerFuncForResourceFunc(all.ForResource), r.Informers)
	if err != nil {
		r.Logger.Error("the status of resource quotas is not updated", zap.Error(err))
		return
	}
	registry := generic.NewRegistry(quotas.Evaluators())
	usage := newUsageInformers(ctx, all, registry, r.Acknowledged)
	informer := quotaInformer{ResourceQuotaInformer: r.Informers.Core().V1().ResourceQuotas(), usage: usage}
	informer.handling.SharedIndexInformer = informer.ResourceQuotaInformer.Informer()
	controller, err := resourcequota.NewController(ctx, &resourcequota.ControllerOptions{
		QuotaClient:               r.client.CoreV1(),
		ResourceQuotaInformer:     &informer,
		ResyncPeriod:              controller.StaticResyncPeriodFunc(quotaResync),
		InformerFactory:           usage,
		ReplenishmentResyncPeriod: controller.NoResyncPeriodFunc,
		DiscoveryFunc:             func() ([]*metav1.APIResourceList, error) { return namespaced(initial), nil },
		IgnoredResourcesFunc:      quotas.IgnoredResources,
		InformersStarted:          started,
		Registry:                  registry,
		UpdateFilter:              quotainstall.DefaultUpdateFilter(),
	})
	if err != nil {
		r.Logger.Error("the status of resource quotas is not updated", zap.Error(err))
		return
	}
	all.onUsedLater(informer.handling.addCounting)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		controller.Sync(ctx, func() ([]*metav1.APIResourceList, error) {
			informer.handling.addIncomplete() // the controller has applied the last answer
			return discovery.ServerPreferredNamespacedResources()
		}, syncPause)
	})
	controller.Run(ctx, workers)
}

// quotaInformer is the informer of the quota controller.
type quotaInformer struct {
	coreinformers.ResourceQuotaInformer
	handling quotaHandling
	usage    *usageInformers
}

func (i *quotaInformer) Informer() cache.SharedIndexInformer { return &i.handling }

// Lister returns the lister from which the controller gets a quota before it computes the
// usage.
func (i *quotaInformer) Lister() corelisters.ResourceQuotaLister {
	return usageLister{i.ResourceQuotaInformer.Lister(), i.usage}
}

// quotaHandling remembers the handler of the quota controller, which computes a quota
// when it is created. If it counts objects of a kind that the controller does not know
// yet, upstream computes that only at the next resync. Until then all creations fail.
type quotaHandling struct {
	cache.SharedIndexInformer
	handler cache.ResourceEventHandler
}

func (h *quotaHandling) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, resync time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	h.handler = handler
	return h.SharedIndexInformer.AddEventHandlerWithResyncPeriod(handler, resync)
}

// addIncomplete has the controller compute all quotas without a usage of each resource.
func (h *quotaHandling) addIncomplete() {
	h.add(func(quota *corev1.ResourceQuota) bool {
		for resource := range quota.Spec.Hard {
			if _, known := quota.Status.Used[resource]; !known {
				return true
			}
		}
		return false
	})
}

// addCounting has the controller compute all quotas that count objects of a resource. It
// is called after the first use of the resource: the controller does not see an object
// that was deleted before its informer had synced.
func (h *quotaHandling) addCounting(resource schema.GroupResource) {
	name := generic.ObjectCountQuotaResourceNameFor(resource)
	h.add(func(quota *corev1.ResourceQuota) bool {
		_, counts := quota.Spec.Hard[name]
		return counts
	})
}

func (h *quotaHandling) add(wanted func(*corev1.ResourceQuota) bool) {
	for _, object := range h.GetStore().List() {
		if quota, ok := object.(*corev1.ResourceQuota); ok && h.handler != nil && wanted(quota) {
			h.handler.OnAdd(quota, false)
		}
	}
}
