// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/testwait"
)

// TestOwnersEnterTheGraphInOrder verifies that an owner which waits for its dependents
// enters the graph after all acknowledged writes, and that two owners of different kinds,
// each with the other's deletion acknowledged, do not wait for each other.
func TestOwnersEnterTheGraphInOrder(t *testing.T) {
	before := ownerGraphTimeout
	ownerGraphTimeout = time.Hour
	t.Cleanup(func() { ownerGraphTimeout = before })
	kind := func(name string) schema.GroupResource { return schema.GroupResource{Resource: name} }
	acknowledged := map[schema.GroupResource]uint64{kind("dependents"): 6, kind("first"): 7, kind("second"): 8, kind("unused"): 0}
	graph := newOwnerGraph(t.Context(), nil, newAPIDiscovery(nil), func(r schema.GroupResource) uint64 { return acknowledged[r] })
	var mu sync.Mutex
	var entered []string
	object := func(name string, revision int) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: strconv.Itoa(revision)}}
	}
	next := cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			mu.Lock()
			defer mu.Unlock()
			entered = append(entered, object.(*corev1.ConfigMap).Name)
		},
	}
	next.UpdateFunc = func(_, object any) { next.AddFunc(object) }
	handlers := map[string]graphHandler{}
	for r := range acknowledged {
		k := &graphKind{informer: cache.NewSharedIndexInformer(nil, &corev1.ConfigMap{}, 0, nil)}
		graph.kinds[r] = k
		handlers[r.Resource] = graphHandler{next, graph, k}
	}
	var running sync.WaitGroup
	deleteOwner := func(resource string, revision int) {
		deleted := object(resource, revision)
		deleted.DeletionTimestamp, deleted.Finalizers = &metav1.Time{}, []string{metav1.FinalizerOrphanDependents}
		running.Go(func() { handlers[resource].OnUpdate(object(resource, 1), deleted) })
		testwait.True(t, "the event of "+resource, func() bool { return handlers[resource].kind.reached.Load() == uint64(revision-1) })
	}
	deleteOwner("second", 8)
	deleteOwner("first", 7)
	handlers["dependents"].OnAdd(object("dependent", 6), false)
	testwait.True(t, "both owners", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(entered) == 3
	})
	running.Wait()
	if want := []string{"dependent", "first", "second"}; !slices.Equal(entered, want) {
		t.Errorf("got the order %v, want %v", entered, want)
	}
}
