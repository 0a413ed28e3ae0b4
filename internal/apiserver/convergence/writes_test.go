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

// lateInformer is an informer of a resource whose watch the test is.
type lateInformer struct{ cache.SharedIndexInformer }

func newLate(resource schema.GroupResource) (*Writes, lateInformer) {
	a := NewWrites()
	late := lateInformer{cache.NewSharedIndexInformer(&cache.ListWatch{}, &corev1.Namespace{}, 0, cache.Indexers{})}
	a.Begin(func() map[schema.GroupResource][]cache.SharedIndexInformer {
		return map[schema.GroupResource][]cache.SharedIndexInformer{resource: {late}}
	})
	return a, late
}

func (l lateInformer) hear(t *testing.T, revision uint64) {
	t.Helper()
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n", ResourceVersion: strconv.FormatUint(revision, 10)}}
	if err := l.GetIndexer().Add(object); err != nil {
		t.Fatal(err)
	}
}

var namespaces = schema.GroupResource{Resource: "namespaces"}

// TestOnlyWhatIsBehindIsWaitedFor, and by nobody who does not depend on it.
func TestOnlyWhatIsBehindIsWaitedFor(t *testing.T) {
	t.Parallel()
	a, late := newLate(namespaces)
	sources := a.of([]schema.GroupResource{namespaces})
	if a.wait(t.Context(), sources) {
		t.Error("waited, and nothing was written")
	}
	written := a.Observer(namespaces)
	written(t.Context(), 7)
	written(t.Context(), 5) // an update that changed nothing
	if a.wait(t.Context(), a.of(rbacSources)) {
		t.Error("waited for what it does not depend on")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	a.wait(gone, sources)
	if a.sources[namespaces].seen.Load() != 0 {
		t.Error("a client that is gone has ended the wait of others")
	}
	waited := make(chan bool)
	go func() { waited <- a.wait(t.Context(), sources) }()
	late.hear(t, 6)
	if a.sources[namespaces].seen.Load() != 0 {
		t.Error("6 is not 7")
	}
	late.hear(t, 7)
	if !<-waited {
		t.Error("did not wait")
	}
	if a.wait(t.Context(), sources) {
		t.Error("waited again")
	}
	if a.Observer(schema.GroupResource{Resource: "configmaps"}) != nil {
		t.Error("every write is observed")
	}
}

// TestOneWriteIsWaitedForOnce: an informer that has lost its watch holds up no request
// for longer than the bound, and later ones not at all.
func TestOneWriteIsWaitedForOnce(t *testing.T) {
	t.Parallel()
	a, _ := newLate(namespaces)
	sources := a.of([]schema.GroupResource{namespaces})
	a.Observer(namespaces)(t.Context(), 7)
	if !a.wait(t.Context(), sources) {
		t.Error("did not wait")
	}
	if a.wait(t.Context(), sources) {
		t.Error("waits again for what did not come")
	}
}

// TestUsageOfQuotasIsNotWaitedFor: admission writes it at each creation.
func TestUsageOfQuotasIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	quotas := schema.GroupResource{Resource: "resourcequotas"}
	a := NewWrites()
	by := func(name, subresource string) context.Context {
		ctx := genericapirequest.WithUser(t.Context(), &user.DefaultInfo{Name: name})
		return genericapirequest.WithRequestInfo(ctx, &genericapirequest.RequestInfo{Subresource: subresource})
	}
	a.Observer(quotas)(by(user.APIServerUser, "status"), 7)
	if got := a.sources[quotas].written.Load(); got != 0 {
		t.Errorf("admission's update counts: %d", got)
	}
	for i, ctx := range []context.Context{by(user.KubeControllerManager, "status"), by("jane", ""), t.Context()} {
		a.Observer(quotas)(ctx, uint64(8+i))
		if got := a.sources[quotas].written.Load(); got != uint64(8+i) {
			t.Errorf("update %d does not count: %d", i, got)
		}
	}
}

// TestAcknowledgedSourcesExist: what requests wait for are resources that there are.
func TestAcknowledgedSourcesExist(t *testing.T) {
	t.Parallel()
	current := NewAdmission(NewWrites())
	all := slices.Concat(current.namespaced, current.binding, current.nodes)
	for _, sources := range current.resources {
		all = append(all, sources...)
	}
	if slices.Contains(all, nil) {
		t.Error("waits for a resource that is not observed")
	}
}

// BenchmarkAcknowledged is what each creation of a pod costs when nothing is behind.
func BenchmarkAcknowledged(b *testing.B) {
	current := NewAdmission(NewWrites())
	for b.Loop() {
		current.writes.wait(b.Context(), current.namespaced, current.resources[schema.GroupResource{Resource: "pods"}], nil, nil)
	}
}
