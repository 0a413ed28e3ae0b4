// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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

// WaitForStored returns when the server has applied changes that were written to etcd
// directly. All of its informers have each change, as with WaitForInformers, and requests
// are admitted by the policies that have changed. Keys of resources
// without an informer are ignored. The error is the cause of ctx if that ends first, and
// names the first key that informers have not seen.
func (w Waiter) WaitForStored(ctx context.Context, changes []access.StoredChange) error {
	running := w.Informers.ByResource()
	latest, err := waitSeen(ctx, changes, w.Keys.Index(slices.Collect(maps.Keys(running))...), running)
	if err != nil {
		return err
	}
	for resource, change := range latest {
		waitHandlers(ctx, running[resource], strconv.FormatInt(change.revision, 10), change.changes)
		if err := w.waitInForce(ctx, resource); err != nil {
			return err
		}
	}
	if err := w.waitEnforced(ctx, latest); err != nil {
		return err
	}
	return w.waitParams(ctx, changes)
}

// waitSeen waits until informers have seen the changes of keys in index, and returns the
// latest change of each resource.
func waitSeen(ctx context.Context, changes []access.StoredChange, index keyspace.Index, informers map[schema.GroupResource][]cache.SharedIndexInformer) (map[schema.GroupResource]latestChange, error) {
	var waiting []storedWait
	latest := map[schema.GroupResource]latestChange{}
	for _, change := range changes {
		resource, name, ok := index.Find(change.Key)
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
		return nil, fmt.Errorf("apiserver: informers have not seen the change of %s: %w", waiting[0].Key, err)
	}
	return latest, nil
}

// latestChange is the last transaction that changed a resource, and the number of its
// objects that it changed.
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

// storedWait is a change that informers have not all seen yet.
type storedWait struct {
	access.StoredChange
	informers []cache.SharedIndexInformer
	name      string // in the informers' stores
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
			// Deleted by this change, or by a later one.
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
