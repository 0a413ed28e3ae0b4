// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/controller-manager/pkg/informerfactory"

	"github.com/kubembed/kubembed/internal/lifecycle"
)

// ownerGraphTimeout bounds the wait of an owner for discovery, and that for each kind.
// Tests change it.
var ownerGraphTimeout = time.Second

// ownerGraph are the informers from which the garbage collector builds its graph of
// owners and dependents.
//
// Each kind has a watch of its own. Upstream's graph may get the deletion of an owner
// before a dependent that was created earlier, and then deletes a dependent that the
// client wanted to orphan. Here an owner that begins to wait for its dependents enters
// the graph after all objects that the API server had acknowledged before, of all kinds
// that it serves. Writes of other servers are not known. Revisions of different etcds
// cannot be compared: an owner may still come before a dependent in another etcd. An
// informer that has lost its watch delivers a list by names: an owner may come before a
// dependent that was created meanwhile.
type ownerGraph struct {
	informerfactory.InformerFactory
	ctx  context.Context
	apis *apiDiscovery
	// acknowledged is Config.Acknowledged.
	acknowledged func(schema.GroupResource) uint64
	syncs        *Syncs

	mu      sync.Mutex
	kinds   map[schema.GroupResource]*graphKind
	checked *apis // no owner waits for its kinds any more
	overdue bool  // no owner waits for discovery, until it has the APIs again
}

// newOwnerGraph returns an ownerGraph whose owners wait for nothing when ctx has ended.
func newOwnerGraph(ctx context.Context, all informerfactory.InformerFactory, apis *apiDiscovery, acknowledged func(schema.GroupResource) uint64, syncs *Syncs) *ownerGraph {
	return &ownerGraph{InformerFactory: all, ctx: ctx, apis: apis, acknowledged: acknowledged, syncs: syncs, kinds: map[schema.GroupResource]*graphKind{}}
}

// graphKind is a kind in the graph.
type graphKind struct {
	informer     cache.SharedIndexInformer
	registration cache.DoneChecker // of the graph's handler
	// reached is the revision up to which the graph has the kind's changes, and those
	// that it need not have.
	reached atomic.Uint64
	lagging lagging
}

// ForResource returns the informer of a kind.
func (g *ownerGraph) ForResource(resource schema.GroupVersionResource) (informers.GenericInformer, error) {
	informer, err := g.InformerFactory.ForResource(resource)
	if err != nil {
		return nil, err
	}
	return graphInformer{informer, g, resource.GroupResource()}, nil
}

type graphInformer struct {
	informers.GenericInformer
	graph    *ownerGraph
	resource schema.GroupResource
}

func (i graphInformer) Informer() cache.SharedIndexInformer {
	return graphSource{i.GenericInformer.Informer(), i.graph, i.resource}
}

type graphSource struct {
	cache.SharedIndexInformer
	graph    *ownerGraph
	resource schema.GroupResource
}

// AddEventHandlerWithResyncPeriod adds the handler of the graph.
func (s graphSource) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, resync time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	kind := &graphKind{informer: s.SharedIndexInformer}
	registration, err := s.SharedIndexInformer.AddEventHandlerWithResyncPeriod(graphHandler{handler, s.graph, kind}, resync)
	if err != nil {
		return nil, err
	}
	kind.registration = registration.HasSyncedChecker()
	s.graph.mu.Lock()
	defer s.graph.mu.Unlock()
	maps.DeleteFunc(s.graph.kinds, func(_ schema.GroupResource, k *graphKind) bool { return k.informer.IsStopped() })
	s.graph.kinds[s.resource] = kind
	return registration, nil
}

// graphHandler is called with the changes of one kind, one after the other.
type graphHandler struct {
	next  cache.ResourceEventHandler
	graph *ownerGraph
	kind  *graphKind
}

func (h graphHandler) OnAdd(object any, initial bool) {
	h.deliver(nil, object, func() { h.next.OnAdd(object, initial) })
}

func (h graphHandler) OnUpdate(before, object any) {
	h.deliver(before, object, func() { h.next.OnUpdate(before, object) })
}

func (h graphHandler) OnDelete(object any) {
	h.deliver(object, object, func() { h.next.OnDelete(object) })
}

func (h graphHandler) deliver(before, object any, next func()) {
	revision := revisionOf(object)
	if waitsForDependents(object) && !waitsForDependents(before) {
		// A rollback that puts the owner back must not end before the graph has it.
		ctx, end := h.graph.syncs.begin(h.graph.ctx)
		defer end()
		// Other owners wait for this kind up to their own revisions. The owner with the
		// lowest one does not wait for them.
		raise(&h.kind.reached, max(revision, 1)-1)
		h.graph.awaitKinds(ctx)
		h.graph.awaitWrites(ctx, h.kind, revision)
	}
	next()
	raise(&h.kind.reached, revision)
}

// awaitKinds returns when the graph has the kinds of all APIs.
func (g *ownerGraph) awaitKinds(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, ownerGraphTimeout)
	defer cancel()
	if lifecycle.Poll(ctx, g.hasAllKinds) == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.overdue = true
	g.checked, _ = g.apis.current()
}

func (g *ownerGraph) hasAllKinds() bool {
	latest, current := g.apis.current()
	g.mu.Lock()
	defer g.mu.Unlock()
	if !current {
		return g.overdue
	}
	g.overdue = false
	if latest == g.checked {
		return true
	}
	for kind := range graphKinds(g.ctx, latest.resources) {
		if watched := g.kinds[kind.GroupResource()]; watched == nil || watched.informer.IsStopped() {
			return false
		}
	}
	g.checked = latest
	return true
}

// awaitWrites returns when the graph has the acknowledged writes before a revision, of
// all kinds except one.
func (g *ownerGraph) awaitWrites(ctx context.Context, except *graphKind, revision uint64) {
	g.mu.Lock()
	targets := make(map[*graphKind]uint64, len(g.kinds))
	for resource, kind := range g.kinds {
		if kind != except {
			targets[kind] = min(g.acknowledged(resource), revision)
		}
	}
	g.mu.Unlock()
	for kind, target := range targets {
		kind.lagging.await(ctx, ownerGraphTimeout, func() bool {
			has := kind.has(target)
			if has {
				raise(&kind.reached, target) // no other owner compares the objects again
			}
			return has
		})
	}
}

// has reports whether the graph has the kind's objects as of a revision.
func (k *graphKind) has(revision uint64) bool {
	reached := k.reached.Load()
	if reached >= revision || k.informer.IsStopped() {
		return true
	}
	// The last change may be a deletion that the handler need not get: it was before the
	// handler, or before a list.
	if !hasStored(k.informer, revision) || !cache.IsDone(k.registration) {
		return false
	}
	for _, object := range k.informer.GetStore().List() {
		if revisionOf(object) > reached {
			return false
		}
	}
	return true
}

// hasStored reports whether the store of an informer has reached a revision.
func hasStored(informer cache.SharedIndexInformer, revision uint64) bool {
	stored, err := strconv.ParseUint(informer.GetStore().LastStoreSyncResourceVersion(), 10, 64)
	return err == nil && stored >= revision
}

// waitsForDependents reports whether an object is deleted when its dependents have been
// deleted or orphaned.
func waitsForDependents(object any) bool {
	o, err := meta.Accessor(object)
	return err == nil && o.GetDeletionTimestamp() != nil && slices.ContainsFunc(o.GetFinalizers(), func(finalizer string) bool {
		return finalizer == metav1.FinalizerOrphanDependents || finalizer == metav1.FinalizerDeleteDependents
	})
}

// revisionOf returns the revision of an object, or 0 if it is not known.
func revisionOf(object any) uint64 {
	o, err := meta.Accessor(object)
	if err != nil {
		return 0
	}
	revision, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return revision
}

func raise(to *atomic.Uint64, revision uint64) {
	for {
		before := to.Load()
		if before >= revision || to.CompareAndSwap(before, revision) {
			return
		}
	}
}
