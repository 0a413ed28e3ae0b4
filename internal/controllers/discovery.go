// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
)

const (
	// discoveryInterval is upstream's interval of discovery without a known change.
	discoveryInterval = 30 * time.Second
	// discoverySettleTime is the time after a change with a discovery every
	// discoveryPause: a new API appears in discovery after a delay.
	discoverySettleTime = 10 * time.Second
	discoveryPause      = time.Second
)

// apiChanges notifies waiters of changes of the APIs.
type apiChanges struct {
	mu         sync.Mutex
	lastChange time.Time
	next       chan struct{} // closed by the next change
}

func (c *apiChanges) notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastChange = time.Now()
	if c.next != nil {
		close(c.next)
		c.next = nil
	}
}

// wait returns when the next discovery is due, or ctx ends.
func (c *apiChanges) wait(ctx context.Context) {
	c.mu.Lock()
	if time.Since(c.lastChange) < discoverySettleTime {
		c.mu.Unlock()
		return
	}
	if c.next == nil {
		c.next = make(chan struct{})
	}
	next := c.next
	c.mu.Unlock()
	timer := time.NewTimer(discoveryInterval)
	defer timer.Stop()
	select {
	case <-next:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// blockingDiscovery answers the first request with the known resources, and blocks later
// ones until they may have changed. The loops of upstream that poll it can then have a
// short period. It is for one caller at a time.
type blockingDiscovery struct {
	discovery.DiscoveryInterface
	ctx       context.Context
	changes   *apiChanges
	answered  bool // the first request
	resources []*metav1.APIResourceList
	err       error
}

func (r *run) newBlockingDiscovery(ctx context.Context, changes *apiChanges, initial []*metav1.APIResourceList) *blockingDiscovery {
	return &blockingDiscovery{DiscoveryInterface: r.client.Discovery(), ctx: ctx, changes: changes, resources: initial}
}

// ServerPreferredResources is called by the garbage collector.
func (p *blockingDiscovery) ServerPreferredResources() ([]*metav1.APIResourceList, error) {
	if p.answered {
		p.changes.wait(p.ctx)
		if p.ctx.Err() == nil {
			p.resources, p.err = p.DiscoveryInterface.ServerPreferredResources()
		}
	}
	p.answered = true
	return p.resources, p.err
}

// ServerPreferredNamespacedResources is called by the quota controller.
func (p *blockingDiscovery) ServerPreferredNamespacedResources() ([]*metav1.APIResourceList, error) {
	all, err := p.ServerPreferredResources()
	return namespaced(all), err
}

func namespaced(all []*metav1.APIResourceList) []*metav1.APIResourceList {
	return discovery.FilteredBy(discovery.ResourcePredicateFunc(func(_ string, r *metav1.APIResource) bool { return r.Namespaced }), all)
}

// discover returns the result of the first discovery, which it retries until there is
// one. The result may lack aggregated APIs that are unavailable. Upstream's controllers
// handle that.
func (r *run) discover() ([]*metav1.APIResourceList, error) {
	if len(r.discovered) > 0 {
		return r.discovered, nil
	}
	var err error
	if wait.PollUntilContextCancel(r.ctx, discoveryPause, true, func(context.Context) (bool, error) {
		r.discovered, err = r.client.Discovery().ServerPreferredResources()
		return len(r.discovered) > 0, nil
	}) != nil {
		return nil, fmt.Errorf("discovery: %w: %w", context.Cause(r.ctx), err)
	}
	return r.discovered, nil
}
