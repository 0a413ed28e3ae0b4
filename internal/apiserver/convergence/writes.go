// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package convergence waits until writes have taken effect. Upstream authorizes and
// admits requests, and serves custom resources, by what informers have and by objects
// that it builds from it. Both lag behind etcd. Here a request waits for the writes that
// were acknowledged before it, and a Waiter for writes of other servers and other
// sources.
package convergence

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/apiserver/crd"
	"github.com/kubembed/kubembed/internal/apiserver/informers"
	"github.com/kubembed/kubembed/internal/storage"
)

// Writes records the newest acknowledged write of each resource. Requests are authorized
// and admitted by some resources. Authorizers and admission plugins read informers, which
// see a write later than its client, by a millisecond on an idle machine. A client in
// this process may send its next request earlier. So a decision waits until its informers
// have seen all writes that were acknowledged before.
//
// If they have, as in nearly all cases, that costs two atomic loads for each resource.
// Writes of other servers of the same etcd are not recorded.
type Writes struct {
	sources map[schema.GroupResource]*source
	graph   []*source // of the Node authorizer
	others  sync.Map  // the newest acknowledged revisions of other resources
	// informers is nil until the informers have synced. Nothing waits before.
	informers atomic.Pointer[func() map[schema.GroupResource][]cache.SharedIndexInformer]
}

// source is a resource that decisions depend on.
type source struct {
	resource schema.GroupResource
	written  atomic.Uint64  // the newest acknowledged revision
	seen     atomic.Uint64  // no request waits for revisions up to this one
	graph    *graphRevision // only for the resources of Writes.graph
	inForce  func() bool    // see SetInForce; may be nil
}

// currentTimeout bounds the wait of a request. Later requests do not wait for the same
// write: an informer that is so far behind has lost its watch.
const currentTimeout = time.Second

var (
	rbacSources  = groupResources("rbac.authorization.k8s.io", "roles", "rolebindings", "clusterroles", "clusterrolebindings")
	graphSources = slices.Concat(groupResources("", "pods", "persistentvolumes"), groupResources("storage.k8s.io", "volumeattachments"),
		groupResources("resource.k8s.io", "resourceslices"), groupResources("certificates.k8s.io", "podcertificaterequests"))
	policySources = groupResources("admissionregistration.k8s.io", "validatingwebhookconfigurations", "mutatingwebhookconfigurations",
		"validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings")
	otherSources = slices.Concat(groupResources("", "namespaces", "serviceaccounts", "limitranges", "resourcequotas", "nodes"),
		groupResources("scheduling.k8s.io", "priorityclasses", "workloads", "podgroups"), groupResources("node.k8s.io", "runtimeclasses"),
		groupResources("storage.k8s.io", "storageclasses", "csidrivers"), groupResources("networking.k8s.io", "ingressclasses"),
		[]schema.GroupResource{crd.Resource})
)

func groupResources(group string, resources ...string) (all []schema.GroupResource) {
	for _, resource := range resources {
		all = append(all, schema.GroupResource{Group: group, Resource: resource})
	}
	return all
}

// NewWrites returns an empty Writes.
func NewWrites() *Writes {
	a := &Writes{sources: map[schema.GroupResource]*source{}}
	for _, resource := range slices.Concat(rbacSources, policySources, otherSources, graphSources) {
		a.sources[resource] = &source{resource: resource}
	}
	a.graph = a.of(graphSources)
	for _, s := range a.graph {
		s.graph = &graphRevision{}
	}
	return a
}

// SetInForce makes waits for a resource last until inForce reports true, too: until what
// the informers have seen has taken effect. It must be called before Begin.
func (a *Writes) SetInForce(resource schema.GroupResource, inForce func() bool) {
	a.sources[resource].inForce = inForce
}

func (a *Writes) of(resources []schema.GroupResource) (sources []*source) {
	for _, resource := range resources {
		sources = append(sources, a.sources[resource])
	}
	return sources
}

// Begin enables waits. It is called when the informers have synced, with a function that
// returns them.
func (a *Writes) Begin(informers func() map[schema.GroupResource][]cache.SharedIndexInformer) {
	once := sync.OnceValue(informers) // Not during the start, which it would slow down.
	a.informers.Store(&once)
}

// AffectsDecisions reports whether decisions depend on a resource.
func (a *Writes) AffectsDecisions(resource schema.GroupResource) bool {
	return a.sources[resource] != nil
}

// Acknowledged implements access.Internals.Acknowledged, which documents it.
func (a *Writes) Acknowledged(resource schema.GroupResource) uint64 {
	if s := a.sources[resource]; s != nil {
		return s.written.Load()
	}
	if written, ok := a.others.Load(resource); ok {
		return written.(*atomic.Uint64).Load()
	}
	return 0
}

// Observer returns the function that storage.Backend calls with the revisions of a
// resource.
func (a *Writes) Observer(resource schema.GroupResource) storage.Observer {
	s := a.sources[resource]
	switch {
	case s == nil:
		written, _ := a.others.LoadOrStore(resource, &atomic.Uint64{})
		return func(_ context.Context, revision uint64) { raise(written.(*atomic.Uint64), revision) }
	case resource.Group == "" && resource.Resource == "resourcequotas":
		return func(ctx context.Context, revision uint64) {
			if !countsUsage(ctx) {
				raise(&s.written, revision)
			}
		}
	default:
		return func(_ context.Context, revision uint64) { raise(&s.written, revision) }
	}
}

// countsUsage reports whether the request is that by which admission counts the usage of
// a quota. Admission remembers the usage itself. If it were recorded, each creation would
// wait for it.
func countsUsage(ctx context.Context) bool {
	info, ok := genericapirequest.RequestInfoFrom(ctx)
	requestUser, known := genericapirequest.UserFrom(ctx)
	return ok && known && info.Subresource == "status" && requestUser.GetName() == user.APIServerUser
}

func raise(to *atomic.Uint64, revision uint64) {
	for {
		before := to.Load()
		if before >= revision || to.CompareAndSwap(before, revision) {
			return
		}
	}
}

// wait returns when the informers of all sources have seen the writes that were
// acknowledged before the call, after currentTimeout, or when ctx ends. It reports
// whether it had to wait.
func (a *Writes) wait(ctx context.Context, all ...[]*source) bool {
	for _, sources := range all {
		for _, s := range sources {
			if s.seen.Load() < s.written.Load() {
				return a.waitFor(ctx, slices.Concat(all...))
			}
		}
	}
	return false
}

func (a *Writes) waitFor(ctx context.Context, sources []*source) bool {
	running := a.informers.Load()
	if running == nil {
		return false
	}
	limit, cancel := context.WithTimeout(ctx, currentTimeout)
	defer cancel()
	for _, s := range sources {
		target := s.written.Load()
		if s.seen.Load() >= target {
			continue
		}
		informers := (*running)()[s.resource]
		if !pollOften(limit, func() bool { return s.seen.Load() >= target || s.has(target, informers) }) && ctx.Err() != nil {
			return true // The client has gone. Other requests still wait.
		}
		raise(&s.seen, target)
	}
	return true
}

// has reports whether the informers, or the Node authorizer's graph, have seen a revision
// and it is in force.
func (s *source) has(revision uint64, all []cache.SharedIndexInformer) bool {
	if s.graph != nil {
		return s.graph.handlers.Load() == 0 || s.graph.seen.Load() >= revision
	}
	version := strconv.FormatUint(revision, 10)
	for _, informer := range all {
		if seen, err := hasSeen(informer, version); err == nil && !seen {
			return false
		}
		if tracked, ok := informer.(*informers.Tracked); ok && !tracked.Delivered(version, 1) {
			return false
		}
	}
	return s.inForce == nil || s.inForce()
}

// pollOften is lifecycle.Poll for conditions that become true within a millisecond.
func pollOften(ctx context.Context, done func() bool) bool {
	pauses := wait.Backoff{Duration: 100 * time.Microsecond, Factor: 2, Steps: 7, Cap: 5 * time.Millisecond}
	return pauses.DelayFunc().Until(ctx, true, true, func(context.Context) (bool, error) { return done(), nil }) == nil
}

// CustomResources returns a handler that waits for CustomResourceDefinitions before
// requests that may be for custom resources.
func (a *Writes) CustomResources(next http.Handler) http.Handler {
	sources := a.of([]schema.GroupResource{crd.Resource})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/apis/") && !strings.HasPrefix(r.URL.Path, "/apis/"+crd.Resource.Group+"/") {
			a.wait(r.Context(), sources)
		}
		next.ServeHTTP(w, r)
	})
}
