package convergence

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/keyspace"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// WaitForStored returns when the server knows of what was written past it: all of
// its informers have each change, as with WaitForInformers, and requests are judged by
// the policies that have changed. Upstream looks for changed policies once a second, and
// then compiles them, which a wait for them may take. Keys of resources without an informer are
// passed over. The error is the cause of ctx, when that ends first, and names the
// first key that is missing.
func (w Waiter) WaitForStored(ctx context.Context, changes []access.StoredChange) error {
	running := w.Informers.ByResource()
	latest, err := waitSeen(ctx, changes, w.Keys.Index(slices.Collect(maps.Keys(running))...), running)
	if err != nil {
		return err
	}
	for resource, last := range latest {
		waitTold(ctx, running[resource], strconv.FormatInt(last.revision, 10), last.changes)
		if err := w.waitInForce(ctx, resource); err != nil {
			return err
		}
	}
	if err := w.waitEnforced(ctx, latest); err != nil {
		return err
	}
	return w.waitParams(ctx, changes)
}

// waitSeen waits until informers have the changes of resources that are stored under
// keys, and returns the last of each resource.
func waitSeen(ctx context.Context, changes []access.StoredChange, keys keyspace.Index, informers map[schema.GroupResource][]cache.SharedIndexInformer) (map[schema.GroupResource]latestChange, error) {
	var waiting []storedWait
	latest := map[schema.GroupResource]latestChange{}
	for _, change := range changes {
		resource, name, ok := keys.Find(change.Key)
		if !ok {
			continue
		}
		waiting = append(waiting, storedWait{change, informers[resource], name})
		latest[resource] = latest[resource].add(change.Revision)
	}
	err := lifecycle.Poll(ctx, func() bool {
		waiting = slices.DeleteFunc(waiting, storedWait.seen)
		return len(waiting) == 0
	})
	if err != nil {
		return nil, fmt.Errorf("apiserver: informers do not see the change of %s: %w", waiting[0].Key, err)
	}
	return latest, nil
}

// latestChange is the last transaction that changed a resource, and how many of
// its objects.
type latestChange struct {
	revision int64
	changes  int
}

func (l latestChange) add(revision int64) latestChange {
	switch {
	case revision > l.revision:
		return latestChange{revision, 1}
	case revision == l.revision:
		l.changes++
	}
	return l
}

// storedWait is a change that informers have not seen yet.
type storedWait struct {
	access.StoredChange
	informers []cache.SharedIndexInformer
	name      string // in the informers
}

func (w storedWait) seen() bool {
	for _, informer := range w.informers {
		if unneeded(informer) {
			continue
		}
		object, exists, err := informer.GetStore().GetByKey(w.name)
		if err != nil {
			return false
		}
		if !exists {
			// Deleted, or deleted again.
			seen, err := hasSeen(informer, strconv.FormatInt(w.Revision, 10))
			if !w.Deleted && (!seen || err != nil) {
				return false
			}
			continue
		}
		accessor, err := meta.Accessor(object)
		if err != nil {
			return false
		}
		order, err := resourceversion.CompareResourceVersion(accessor.GetResourceVersion(), strconv.FormatInt(w.Revision, 10))
		if err != nil || order < 0 {
			return false
		}
	}
	return true
}
