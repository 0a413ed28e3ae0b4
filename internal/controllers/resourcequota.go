// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/kubernetes/pkg/controller"
	"k8s.io/kubernetes/pkg/controller/resourcequota"
	quotainstall "k8s.io/kubernetes/pkg/quota/v1/install"
)

// quotaResync is the period in which all quotas are recomputed. Upstream has 5 minutes,
// in which a quota remains wrong if it counts a resource that the controller has not
// discovered yet, or one whose last object was deleted before that.
const quotaResync = 30 * time.Second

// computeQuota runs the controller that computes the usage of each ResourceQuota. An
// admission plugin enforces it.
func (r *run) computeQuota(ctx context.Context, all *objectInformers, initial []*metav1.APIResourceList, discovery *blockingDiscovery) {
	quotas, err := quotainstall.NewQuotaConfigurationForControllers(generic.ListerFuncForResourceFunc(all.ForResource), r.Informers)
	if err != nil {
		r.Logger.Error("the status of resource quotas is not updated", zap.Error(err))
		return
	}
	controller, err := resourcequota.NewController(ctx, &resourcequota.ControllerOptions{
		QuotaClient:               r.client.CoreV1(),
		ResourceQuotaInformer:     r.Informers.Core().V1().ResourceQuotas(),
		ResyncPeriod:              controller.StaticResyncPeriodFunc(quotaResync),
		InformerFactory:           all,
		ReplenishmentResyncPeriod: controller.NoResyncPeriodFunc,
		DiscoveryFunc:             func() ([]*metav1.APIResourceList, error) { return namespaced(initial), nil },
		IgnoredResourcesFunc:      quotas.IgnoredResources,
		InformersStarted:          started,
		Registry:                  generic.NewRegistry(quotas.Evaluators()),
		UpdateFilter:              quotainstall.DefaultUpdateFilter(),
	})
	if err != nil {
		r.Logger.Error("the status of resource quotas is not updated", zap.Error(err))
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { controller.Sync(ctx, discovery.ServerPreferredNamespacedResources, discoveryPause) })
	controller.Run(ctx, workers)
}
