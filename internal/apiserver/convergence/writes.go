// Package convergence waits until writes have taken effect. Upstream authorizes and admits requests,
// and serves custom resources, by informers and by what it makes of them, which lag behind etcd. Here requests
// wait for the writes that were acknowledged before them, and callers for writes of their own.
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

// Writes records the newest writes that this server has acknowledged, of the
// resources by which requests are authorized and admitted. Authorizers and admission
// plugins read informers, which see a write later than its client does: a millisecond
// when idle. A client in this process sends its next request before that. So a decision
// waits until its informers have seen all writes that were acknowledged before.
//
// If they have, as nearly always, that costs two atomic loads for each resource. Writes
// of other servers of the same etcd are not recorded.
type Writes struct {
	sources map[schema.GroupResource]*source
	graph   []*source // of the Node authorizer
	// informers is nil until they have synced: nobody waits before.
	informers atomic.Pointer[func() map[schema.GroupResource][]cache.SharedIndexInformer]
}

// source is a resource that decisions depend on.
type source struct {
	resource schema.GroupResource
	written  atomic.Uint64  // the newest revision that was acknowledged
	seen     atomic.Uint64  // up to here nobody waits: informers have it, or are too late
	graph    *graphRevision // nil but for the resources of Writes.graph
	inForce  func() bool    // reports whether what informers have seen has taken effect; may be nil
}

// currentTimeout is how long a request waits, once: another one does not wait for the
// same write. An informer that is so late has lost its watch.
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

// NewWrites returns Writes without any.
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

// SetInForce makes waits for resource wait until inForce reports true, too: that what informers have seen
// has taken effect. It is called before Begin.
func (a *Writes) SetInForce(resource schema.GroupResource, inForce func() bool) {
	a.sources[resource].inForce = inForce
}

func (a *Writes) of(resources []schema.GroupResource) (sources []*source) {
	for _, resource := range resources {
		sources = append(sources, a.sources[resource])
	}
	return sources
}

// Begin is called when the informers have synced.
func (a *Writes) Begin(informers func() map[schema.GroupResource][]cache.SharedIndexInformer) {
	once := sync.OnceValue(informers) // A start has no time for it.
	a.informers.Store(&once)
}

// Observer is storage.Backend's.
func (a *Writes) Observer(resource schema.GroupResource) storage.Observer {
	s := a.sources[resource]
	switch {
	case s == nil:
		return nil
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

// countsUsage reports whether admission counts what a request uses of a quota. It
// remembers that itself, and would wait for it at each creation.
func countsUsage(ctx context.Context) bool {
	info, ok := genericapirequest.RequestInfoFrom(ctx)
	who, known := genericapirequest.UserFrom(ctx)
	return ok && known && info.Subresource == "status" && who.GetName() == user.APIServerUser
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
// acknowledged before the call, after currentTimeout, or when ctx ends. It reports whether it had to wait.
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
			return true // The client is gone. Others may wait.
		}
		raise(&s.seen, target)
	}
	return true
}

// has reports whether the informers, or the graph, have seen a revision.
func (s *source) has(revision uint64, all []cache.SharedIndexInformer) bool {
	if s.graph != nil {
		return s.graph.handlers.Load() == 0 || s.graph.last.Load() >= revision
	}
	version := strconv.FormatUint(revision, 10)
	for _, informer := range all {
		if seen, err := hasSeen(informer, version); err == nil && !seen {
			return false
		}
		if told, ok := informer.(*informers.Tracked); ok && !told.Delivered(version, 1) {
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

// CustomResources waits for CustomResourceDefinitions, where a request may be for one
// of theirs.
func (a *Writes) CustomResources(next http.Handler) http.Handler {
	sources := a.of([]schema.GroupResource{crd.Resource})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/apis/") && !strings.HasPrefix(r.URL.Path, "/apis/"+crd.Resource.Group+"/") {
			a.wait(r.Context(), sources)
		}
		next.ServeHTTP(w, r)
	})
}
