// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/controller-manager/pkg/informerfactory"
)

// usageTimeout bounds the wait of a quota for informers. It passes if one cannot list its
// kind. An informer that has lost its watch may take 3 s.
const usageTimeout = 5 * time.Second

// usageInformers are the informers from which the quota controller computes the usage of
// a quota. Admission counts the objects that are created after the quota. An object that
// was created before, and that its informer has yet to see, would be missing until the
// next resync. So the controller gets a quota when the informers of the kinds that it
// counts have all writes that the API server acknowledged before.
type usageInformers struct {
	informerfactory.InformerFactory
	ctx      context.Context
	registry quota.Registry
	// acknowledged is Config.Acknowledged.
	acknowledged func(schema.GroupResource) uint64

	mu    sync.Mutex
	kinds map[schema.GroupResource]*usageKind
}

type usageKind struct {
	informer cache.SharedIndexInformer
	lagging  lagging
}

// newUsageInformers returns usageInformers for which no quota waits when ctx has ended.
func newUsageInformers(ctx context.Context, all informerfactory.InformerFactory, registry quota.Registry,
	acknowledged func(schema.GroupResource) uint64,
) *usageInformers {
	return &usageInformers{InformerFactory: all, ctx: ctx, registry: registry, acknowledged: acknowledged, kinds: map[schema.GroupResource]*usageKind{}}
}

// ForResource returns the informer of a kind that the controller counts.
func (u *usageInformers) ForResource(resource schema.GroupVersionResource) (informers.GenericInformer, error) {
	informer, err := u.InformerFactory.ForResource(resource)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.kinds, func(_ schema.GroupResource, kind *usageKind) bool { return kind.informer.IsStopped() })
	of := informer.Informer()
	if known := u.kinds[resource.GroupResource()]; known == nil || known.informer != of {
		u.kinds[resource.GroupResource()] = &usageKind{informer: of}
	}
	return informer, nil
}

// wait returns when the informers have the acknowledged writes before the quota's
// revision, of the kinds that it counts.
func (u *usageInformers) wait(of *corev1.ResourceQuota) {
	for kind, revision := range u.counted(of) {
		kind.lagging.await(u.ctx, usageTimeout, func() bool { return kind.has(revision) })
	}
}

// counted returns the kinds that a quota counts, with the last acknowledged write before
// its revision.
func (u *usageInformers) counted(of *corev1.ResourceQuota) map[*usageKind]uint64 {
	names := quota.ResourceNames(of.Spec.Hard)
	counted := map[*usageKind]uint64{}
	u.mu.Lock()
	defer u.mu.Unlock()
	for resource, kind := range u.kinds {
		if evaluator := u.registry.Get(resource); evaluator != nil && len(evaluator.MatchingResources(names)) > 0 {
			counted[kind] = min(u.acknowledged(resource), revisionOf(of))
		}
	}
	return counted
}

// has reports whether the informer has the kind's objects as of a revision.
func (k *usageKind) has(revision uint64) bool {
	return revision == 0 || hasStored(k.informer, revision) || k.informer.IsStopped()
}

// usageLister returns a quota when its usage can be computed.
type usageLister struct {
	corelisters.ResourceQuotaLister
	usage *usageInformers
}

// ResourceQuotas returns the lister of a namespace.
func (l usageLister) ResourceQuotas(namespace string) corelisters.ResourceQuotaNamespaceLister {
	return usageNamespaceLister{l.ResourceQuotaLister.ResourceQuotas(namespace), l.usage}
}

type usageNamespaceLister struct {
	corelisters.ResourceQuotaNamespaceLister
	usage *usageInformers
}

// Get returns the quota that it found before the wait: an update with a later revision
// would be computed without the objects that it counts. Here it is a conflict.
func (l usageNamespaceLister) Get(name string) (*corev1.ResourceQuota, error) {
	found, err := l.ResourceQuotaNamespaceLister.Get(name)
	if err == nil {
		l.usage.wait(found)
	}
	return found, err
}
