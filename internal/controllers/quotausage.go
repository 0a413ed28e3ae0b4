// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/controller-manager/pkg/informerfactory"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// usageTimeout bounds the wait of a quota for informers. It passes if one has lost its
// watch.
const usageTimeout = time.Second

// usageInformers are the informers from which the quota controller computes the usage of
// a quota. Admission counts the objects that are created after the quota. An object that
// was created before, and that its informer has yet to see, would be missing until the
// next resync. So the controller gets a quota when the informers have all writes that the
// API server acknowledged before.
type usageInformers struct {
	informerfactory.InformerFactory
	// acknowledged is Config.Acknowledged.
	acknowledged func(schema.GroupResource) uint64

	mu    sync.Mutex
	kinds map[schema.GroupResource]*usageKind
}

type usageKind struct {
	informer cache.SharedIndexInformer
	seen     uint64 // no quota waits for revisions up to this one
}

func newUsageInformers(all informerfactory.InformerFactory, acknowledged func(schema.GroupResource) uint64) *usageInformers {
	return &usageInformers{InformerFactory: all, acknowledged: acknowledged, kinds: map[schema.GroupResource]*usageKind{}}
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
	u.kinds[resource.GroupResource()] = &usageKind{informer: informer.Informer()}
	return informer, nil
}

// wait returns when the informers have the acknowledged writes before a revision.
func (u *usageInformers) wait(ctx context.Context, revision uint64) {
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	u.mu.Lock()
	defer u.mu.Unlock()
	for resource, kind := range u.kinds {
		target := min(u.acknowledged(resource), revision)
		_ = lifecycle.Poll(ctx, func() bool { return kind.seen >= target || kind.has(target) })
		kind.seen = max(kind.seen, target)
	}
}

// has reports whether the informer has the kind's objects as of a revision.
func (k *usageKind) has(revision uint64) bool {
	return hasStored(k.informer, revision) || k.informer.IsStopped()
}
