// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence

import (
	"context"
	"fmt"
	"time"

	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/apiserver/crd"
	"github.com/kubembed/kubembed/internal/apiserver/informers"
	"github.com/kubembed/kubembed/internal/keyspace"
	"github.com/kubembed/kubembed/internal/lifecycle"
)

// Waiter waits until an API server has applied writes that it did not acknowledge itself.
type Waiter struct {
	Informers informers.Factories
	Writes    *Writes
	Policies  Policies
	Storages  *crd.Storages
	Keys      keyspace.Keyspace
	// Discovery is a discovery client of the server.
	Discovery interface {
		GroupsAndMaybeResources() (*metav1.APIGroupList, map[schema.GroupVersion]*metav1.APIResourceList, map[schema.GroupVersion]error, error)
	}
	// Serves reports whether the server serves a group version itself, not by proxying to
	// an aggregated API server.
	Serves func(schema.GroupVersion) bool
}

// crds returns the lister of the server's informer.
func (w Waiter) crds() listers.CustomResourceDefinitionLister {
	return w.Informers.CRDs.Apiextensions().V1().CustomResourceDefinitions().Lister()
}

// WaitForInformers implements apiserver.Server.WaitForInformers, which documents it.
func (w Waiter) WaitForInformers(ctx context.Context, resource schema.GroupResource, resourceVersion string) error {
	own := w.Informers.ByResource()[resource]
	if err := waitAt(ctx, own, resource, resourceVersion); err != nil {
		return err
	}
	err := withinParams(ctx, func(limit context.Context) error {
		return waitAt(limit, w.paramInformers()[resource], resource, resourceVersion)
	})
	if err != nil {
		return err
	}
	waitHandlers(ctx, own, resourceVersion, 1)
	return w.waitInForce(ctx, resource)
}

// waitAt waits until the stores of informers have reached resourceVersion.
func waitAt(ctx context.Context, all []cache.SharedIndexInformer, resource schema.GroupResource, resourceVersion string) error {
	var failure error
	err := lifecycle.Poll(ctx, func() bool {
		for _, informer := range all {
			seen, err := hasSeen(informer, resourceVersion)
			if failure = err; !seen {
				return err != nil
			}
		}
		return true
	})
	if err == nil {
		err = failure
	}
	if err != nil {
		return fmt.Errorf("apiserver: informer of %s at resourceVersion %q: %w", resource, resourceVersion, err)
	}
	return nil
}

// waitInForce waits until requests use the CRDs and webhooks that the informers have.
func (w Waiter) waitInForce(ctx context.Context, resource schema.GroupResource) error {
	if resource == crd.Resource {
		return w.waitStorages(ctx)
	}
	source := w.Writes.sources[resource]
	if source == nil || source.inForce == nil {
		return nil
	}
	if err := lifecycle.Poll(ctx, source.inForce); err != nil {
		return fmt.Errorf("apiserver: requests use old %s: %w", resource, err)
	}
	return nil
}

// hasSeen reports whether the store of an informer has reached resourceVersion.
func hasSeen(informer cache.SharedIndexInformer, resourceVersion string) (bool, error) {
	if unneeded(informer) {
		return true, nil
	}
	at := informer.GetStore().LastStoreSyncResourceVersion()
	if at == "" {
		return false, nil
	}
	order, err := resourceversion.CompareResourceVersion(at, resourceVersion)
	return order >= 0, err
}

// handlersTimeout bounds waitHandlers. It passes if a handler never gets the change:
// because the handler was added after a deletion, or because the informer had to relist.
const handlersTimeout = time.Second

// waitHandlers waits until the handlers of informers have processed this number of
// changes at resourceVersion.
func waitHandlers(ctx context.Context, all []cache.SharedIndexInformer, resourceVersion string, changes int) {
	limit, cancel := context.WithTimeout(ctx, handlersTimeout)
	defer cancel()
	for _, informer := range all {
		if tracked, ok := informer.(*informers.Tracked); ok {
			_ = lifecycle.Poll(limit, func() bool { return tracked.Delivered(resourceVersion, changes) })
		}
	}
}

// waitStorages waits until custom resources are served by the CRDs that the informer has.
func (w Waiter) waitStorages(ctx context.Context) error {
	var failure error
	err := lifecycle.Poll(ctx, func() bool {
		current, err := w.Storages.Current()
		failure = err
		return current || err != nil
	})
	if err == nil {
		err = failure
	}
	if err != nil {
		return fmt.Errorf("apiserver: custom resources are served by old CRDs: %w", err)
	}
	return nil
}
