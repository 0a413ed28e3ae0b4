// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/testwait"
)

// entries are the objects that have entered a graph, in order.
type entries struct {
	mu    sync.Mutex
	names []string
}

func (e *entries) handler() cache.ResourceEventHandler {
	enter := func(object any) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.names = append(e.names, object.(*corev1.ConfigMap).Name)
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: enter, UpdateFunc: func(_, object any) { enter(object) }}
}

// wait waits for entries.
func (e *entries) wait(t *testing.T, want ...string) {
	t.Helper()
	testwait.True(t, "the graph", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.names) >= len(want)
	})
	e.check(t, want...)
}

// check compares the entries so far.
func (e *entries) check(t *testing.T, want ...string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Equal(e.names, want) {
		t.Errorf("got the order %v, want %v", e.names, want)
	}
}

// factory has an informer of ConfigMaps in place of every kind.
type factory map[string]informers.GenericInformer

func (f factory) ForResource(r schema.GroupVersionResource) (informers.GenericInformer, error) {
	return f[r.Resource], nil
}
func (f factory) Start(<-chan struct{}) {}

type configMaps struct{ informer cache.SharedIndexInformer }

func (c configMaps) Informer() cache.SharedIndexInformer { return c.informer }
func (c configMaps) Lister() cache.GenericLister         { return nil }

// listed has a list, not a watch that begins with all objects.
type listed struct{ *cache.ListWatch }

func (listed) IsWatchListSemanticsUnSupported() bool { return true }

func configMap(name string, revision int) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: strconv.Itoa(revision)}}
}

func waitingOwner(name string, revision int) *corev1.ConfigMap {
	owner := configMap(name, revision)
	owner.DeletionTimestamp, owner.Finalizers = &metav1.Time{}, []string{metav1.FinalizerOrphanDependents}
	return owner
}

// newGraph returns a graph of the kinds in acknowledged, and their handlers. Each wait of
// an owner lasts for an hour.
func newGraph(t *testing.T, list func() (runtime.Object, error), acknowledged map[string]uint64) (*ownerGraph, *entries, map[string]cache.ResourceEventHandler) {
	t.Helper()
	setTimeout(t, time.Hour)
	all, entered, handlers := factory{}, &entries{}, map[string]cache.ResourceEventHandler{}
	graph := newOwnerGraph(t.Context(), all, newAPIDiscovery(nil), func(r schema.GroupResource) uint64 { return acknowledged[r.Resource] }, &Syncs{})
	for name := range acknowledged {
		informer := cache.NewSharedIndexInformer(listed{&cache.ListWatch{
			ListWithContextFunc:  func(context.Context, metav1.ListOptions) (runtime.Object, error) { return list() },
			WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) { return watch.NewFake(), nil },
		}}, &corev1.ConfigMap{}, 0, nil)
		all[name] = configMaps{informer}
		of, err := graph.ForResource(schema.GroupVersionResource{Resource: name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := of.Informer().AddEventHandlerWithResyncPeriod(entered.handler(), 0); err != nil {
			t.Fatal(err)
		}
		handlers[name] = graphHandler{entered.handler(), graph, graph.kinds[schema.GroupResource{Resource: name}]}
		if list != nil {
			go informer.RunWithContext(t.Context())
		}
	}
	return graph, entered, handlers
}

func setTimeout(t *testing.T, d time.Duration) {
	before := ownerGraphTimeout
	ownerGraphTimeout = d
	t.Cleanup(func() { ownerGraphTimeout = before })
}

// TestOwnersEnterTheGraphInOrder verifies that an owner which waits for its dependents
// enters the graph after all acknowledged writes, and that two owners of different kinds,
// each with the other's deletion acknowledged, do not wait for each other.
func TestOwnersEnterTheGraphInOrder(t *testing.T) {
	graph, entered, handlers := newGraph(t, nil, map[string]uint64{"dependents": 6, "first": 7, "second": 8, "unused": 0})
	var running sync.WaitGroup
	for revision, resource := range map[int]string{7: "first", 8: "second"} {
		running.Go(func() { handlers[resource].OnUpdate(configMap(resource, 1), waitingOwner(resource, revision)) })
		testwait.True(t, "the event of "+resource, func() bool {
			return graph.kinds[schema.GroupResource{Resource: resource}].reached.Load() == uint64(revision-1)
		})
	}
	handlers["dependents"].OnAdd(configMap("dependent", 6), false)
	entered.wait(t, "dependent", "first", "second")
	running.Wait()
}

// TestOwnersDoNotWaitForDeletedObjects verifies that an owner does not wait for a write
// that no handler gets, of an object that was deleted before the list of its kind.
func TestOwnersDoNotWaitForDeletedObjects(t *testing.T) {
	list := func() (runtime.Object, error) {
		return &corev1.ConfigMapList{ListMeta: metav1.ListMeta{ResourceVersion: "9"}, Items: []corev1.ConfigMap{*configMap("listed", 3)}}, nil
	}
	_, entered, handlers := newGraph(t, list, map[string]uint64{"recreated": 8})
	entered.wait(t, "listed")
	other := graphHandler{entered.handler(), handlers["recreated"].(graphHandler).graph, &graphKind{}}
	go other.OnAdd(waitingOwner("owner", 10), false)
	entered.wait(t, "listed", "owner")
}

// TestOwnersWaitOnceForLateDiscovery verifies that only the first owner waits for a
// discovery that does not find an API.
func TestOwnersWaitOnceForLateDiscovery(t *testing.T) {
	graph, entered, handlers := newGraph(t, nil, map[string]uint64{"owners": 0})
	graph.apis.notify()
	ownerGraphTimeout = time.Millisecond
	handlers["owners"].OnAdd(waitingOwner("first", 1), false)
	ownerGraphTimeout = time.Hour
	go handlers["owners"].OnAdd(waitingOwner("second", 2), false)
	entered.wait(t, "first", "second")
}

// TestCanceledOwnersEnterTheGraph verifies that a rollback does not leave an owner behind
// that has yet to enter the graph.
func TestCanceledOwnersEnterTheGraph(t *testing.T) {
	graph, entered, handlers := newGraph(t, nil, map[string]uint64{"owners": 0, "dependents": 1})
	go handlers["owners"].OnAdd(waitingOwner("owner", 2), false)
	testwait.True(t, "the event", func() bool {
		return graph.kinds[schema.GroupResource{Resource: "owners"}].reached.Load() == 1
	})
	graph.syncs.Cancel()
	if err := graph.syncs.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	entered.check(t, "owner")
}

// TestOwnersWaitOnceForALaggingKind verifies that only the first owner waits for a kind
// that does not catch up, until it has.
func TestOwnersWaitOnceForALaggingKind(t *testing.T) {
	acknowledged := map[string]uint64{"owners": 0, "dependents": 1}
	graph, entered, handlers := newGraph(t, nil, acknowledged)
	ownerGraphTimeout = time.Millisecond
	handlers["owners"].OnAdd(waitingOwner("first", 2), false)
	ownerGraphTimeout = time.Hour
	acknowledged["dependents"] = 3
	handlers["owners"].OnAdd(waitingOwner("second", 4), false)
	handlers["dependents"].OnAdd(configMap("dependent", 3), false)
	handlers["owners"].OnAdd(waitingOwner("third", 4), false)
	acknowledged["dependents"] = 5
	go handlers["owners"].OnAdd(waitingOwner("fourth", 6), false)
	testwait.True(t, "the event", func() bool {
		return graph.kinds[schema.GroupResource{Resource: "owners"}].reached.Load() == 5
	})
	handlers["dependents"].OnAdd(configMap("last", 5), false)
	entered.wait(t, "first", "second", "dependent", "third", "last", "fourth")
}
