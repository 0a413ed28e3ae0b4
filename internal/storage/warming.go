// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
)

// warming lets lists and watches wait for a watch cache that is being filled, for as long
// as upstream asks the client to wait before a retry, which is a second
// (calculateRetryAfterForUnreadyCache of k8s.io/apiserver's storage/cacher). An empty
// cache is filled within milliseconds, one of 10,000 pods within some tenths of a second.
// A retry costs more than the wait: upstream's finalizer of custom resources, if its list
// of the objects to delete is refused, may retry before it has seen its own last write.
// It then forgets the CRD until the next resync, after five minutes.
type warming struct {
	*cacher.CacheDelegator
	cacher   *cacher.Cacher
	resource schema.GroupResource
}

func (w warming) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	err := w.CacheDelegator.GetList(ctx, key, opts, list)
	if w.warmed(ctx, err) {
		err = w.CacheDelegator.GetList(ctx, key, opts, list)
	}
	return err
}

func (w warming) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	start := func(ctx context.Context) (watch.Interface, error) {
		watcher, err := w.CacheDelegator.Watch(ctx, key, opts)
		if w.warmed(ctx, err) {
			watcher, err = w.CacheDelegator.Watch(ctx, key, opts)
		}
		return watcher, err
	}
	if relayed(w.resource) {
		return relayWatch(ctx, w.resource, start)
	}
	return start(ctx)
}

// warmed waits if err says that the cache is not filled yet, and reports whether it is
// filled afterwards.
func (w warming) warmed(ctx context.Context, err error) bool {
	if !apierrors.IsTooManyRequests(err) {
		return false
	}
	seconds, _ := apierrors.SuggestsClientDelay(err)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
	defer cancel()
	return w.cacher.Wait(ctx) == nil
}
