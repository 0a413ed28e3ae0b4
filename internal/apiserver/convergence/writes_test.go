// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence

import (
	"context"
	"slices"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/tools/cache"
)

// laggingInformer is an informer without a watch. The test adds its objects.
type laggingInformer struct{ cache.SharedIndexInformer }

func newLagging(resource schema.GroupResource) (*Writes, laggingInformer) {
	a := NewWrites()
	lagging := laggingInformer{cache.NewSharedIndexInformer(&cache.ListWatch{}, &corev1.Namespace{}, 0, cache.Indexers{})}
	a.Begin(func() map[schema.GroupResource][]cache.SharedIndexInformer {
		return map[schema.GroupResource][]cache.SharedIndexInformer{resource: {lagging}}
	})
	return a, lagging
}

func (l laggingInformer) see(t *testing.T, revision uint64) {
	t.Helper()
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n", ResourceVersion: strconv.FormatUint(revision, 10)}}
	if err := l.GetIndexer().Add(object); err != nil {
		t.Fatal(err)
	}
}

var namespaces = schema.GroupResource{Resource: "namespaces"}

// TestWaitForLaggingInformers verifies that requests wait for informers that have not
// seen acknowledged writes, and only for resources that they depend on.
func TestWaitForLaggingInformers(t *testing.T) {
	t.Parallel()
	a, lagging := newLagging(namespaces)
	sources := a.of([]schema.GroupResource{namespaces})
	if a.wait(t.Context(), sources) {
		t.Error("waited without a write")
	}
	written := a.Observer(namespaces)
	written(t.Context(), 7)
	written(t.Context(), 5) // an update that changed nothing
	if a.wait(t.Context(), a.of(rbacSources)) {
		t.Error("waited for an unrelated resource")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	a.wait(gone, sources)
	if a.sources[namespaces].seen.Load() != 0 {
		t.Error("the end of one client's context ended the waits of others")
	}
	waited := make(chan bool)
	go func() { waited <- a.wait(t.Context(), sources) }()
	lagging.see(t, 6)
	if a.sources[namespaces].seen.Load() != 0 {
		t.Error("at revision 6: the wait for 7 has ended")
	}
	lagging.see(t, 7)
	if !<-waited {
		t.Error("did not wait")
	}
	if a.wait(t.Context(), sources) {
		t.Error("waited again for a write that informers have seen")
	}
	configMaps := schema.GroupResource{Resource: "configmaps"}
	a.Observer(configMaps)(t.Context(), 8)
	if a.wait(t.Context(), sources) || a.AffectsDecisions(configMaps) {
		t.Error("decisions depend on configmaps")
	}
	if at := a.Acknowledged(configMaps); at != 8 {
		t.Errorf("configmaps: acknowledged up to %d, want 8", at)
	}
}

// TestWaitTimesOutOnce verifies that an informer without a watch delays the first request
// by the timeout, and later requests not at all.
func TestWaitTimesOutOnce(t *testing.T) {
	t.Parallel()
	a, _ := newLagging(namespaces)
	sources := a.of([]schema.GroupResource{namespaces})
	a.Observer(namespaces)(t.Context(), 7)
	if !a.wait(t.Context(), sources) {
		t.Error("did not wait")
	}
	if a.wait(t.Context(), sources) {
		t.Error("waited again after the timeout")
	}
}

// TestQuotaUsageIsNotRecorded verifies that requests do not wait for the usage of quotas,
// which admission writes at each creation.
func TestQuotaUsageIsNotRecorded(t *testing.T) {
	t.Parallel()
	quotas := schema.GroupResource{Resource: "resourcequotas"}
	a := NewWrites()
	by := func(name, subresource string) context.Context {
		ctx := genericapirequest.WithUser(t.Context(), &user.DefaultInfo{Name: name})
		return genericapirequest.WithRequestInfo(ctx, &genericapirequest.RequestInfo{Subresource: subresource})
	}
	a.Observer(quotas)(by(user.APIServerUser, "status"), 7)
	if got := a.sources[quotas].written.Load(); got != 0 {
		t.Errorf("admission's update: recorded revision %d, want none", got)
	}
	for i, ctx := range []context.Context{by(user.KubeControllerManager, "status"), by("jane", ""), t.Context()} {
		a.Observer(quotas)(ctx, uint64(8+i))
		if got := a.sources[quotas].written.Load(); got != uint64(8+i) {
			t.Errorf("update %d: recorded revision %d, want %d", i, got, 8+i)
		}
	}
}

// TestAdmissionSourcesExist verifies that admission waits for observed resources only.
func TestAdmissionSourcesExist(t *testing.T) {
	t.Parallel()
	current := NewAdmission(NewWrites())
	all := slices.Concat(current.namespaced, current.binding, current.nodes)
	for _, sources := range current.resources {
		all = append(all, sources...)
	}
	if slices.Contains(all, nil) {
		t.Error("admission waits for a resource that Writes does not observe")
	}
}

// BenchmarkWait measures the wait of a pod's creation when no informer lags.
func BenchmarkWait(b *testing.B) {
	current := NewAdmission(NewWrites())
	for b.Loop() {
		current.writes.wait(b.Context(), current.namespaced, current.resources[schema.GroupResource{Resource: "pods"}], nil, nil)
	}
}
