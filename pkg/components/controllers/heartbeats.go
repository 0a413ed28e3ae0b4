// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationinformers "k8s.io/client-go/informers/coordination/v1"
	coordinationlisters "k8s.io/client-go/listers/coordination/v1"
	"k8s.io/client-go/tools/cache"
)

// heartbeats are the Leases of nodes, with the observation time of each renewal in place
// of the node's own time. Upstream's controller considers a node healthy if the renewal
// time of its Lease increases. Without this, a node whose clock is set back would be
// unhealthy until the clock has caught up. Upstream uses the time for this comparison
// only.
type heartbeats struct {
	coordinationinformers.LeaseInformer
	now func() time.Time

	mu   sync.Mutex
	seen map[string]seenRenewal // by namespace and name
}

// seenRenewal is when this process first observed a renewal, by its monotonic clock.
type seenRenewal struct {
	renewed, at metav1.MicroTime
}

func newHeartbeats(informer coordinationinformers.LeaseInformer) (*heartbeats, error) {
	h := &heartbeats{LeaseInformer: informer, now: time.Now, seen: map[string]seenRenewal{}}
	_, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(object any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.seen, key)
		}
	}})
	return h, err
}

// Lister implements LeaseInformer.
func (h *heartbeats) Lister() coordinationlisters.LeaseLister {
	return heartbeatLister{h.LeaseInformer.Lister(), h}
}

// observed returns a copy of a Lease with the observation time of its renewal.
func (h *heartbeats) observed(lease *coordinationv1.Lease) *coordinationv1.Lease {
	if lease.Spec.RenewTime == nil {
		return lease
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	key := lease.Namespace + "/" + lease.Name
	seen, known := h.seen[key]
	if !known || !seen.renewed.Equal(lease.Spec.RenewTime) {
		seen = seenRenewal{*lease.Spec.RenewTime, metav1.NewMicroTime(h.now())}
		h.seen[key] = seen
	}
	observed := *lease
	observed.Spec.RenewTime = &seen.at
	return &observed
}

type heartbeatLister struct {
	coordinationlisters.LeaseLister
	heartbeats *heartbeats
}

func (l heartbeatLister) Leases(namespace string) coordinationlisters.LeaseNamespaceLister {
	return heartbeatNamespaceLister{l.LeaseLister.Leases(namespace), l.heartbeats}
}

type heartbeatNamespaceLister struct {
	coordinationlisters.LeaseNamespaceLister
	heartbeats *heartbeats
}

func (l heartbeatNamespaceLister) Get(name string) (*coordinationv1.Lease, error) {
	lease, err := l.LeaseNamespaceLister.Get(name)
	if err != nil {
		return nil, err
	}
	return l.heartbeats.observed(lease), nil
}
