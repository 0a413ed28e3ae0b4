// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"context"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"github.com/kubembed/kubembed/internal/e2e/durable/history"
)

// watcher follows all objects of one kind across restarts.
type watcher struct {
	log     *history.Log
	watch   *history.Watch
	version atomic.Uint64 // of watch, for other goroutines
	opened  bool          // in an earlier cycle
}

// run watches until ctx ends.
func (w *watcher) run(ctx context.Context, client dynamic.Interface) {
	for ctx.Err() == nil {
		if err := w.once(ctx, client); err == nil {
			continue
		}
		// The server has stopped, or is stopping.
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// once lists if necessary, and watches until the watch ends.
func (w *watcher) once(ctx context.Context, client dynamic.Interface) error {
	objects := client.Resource(resource(w.watch.Kind))
	if w.watch.Version() == 0 {
		list, err := objects.List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		w.begin(list.GetResourceVersion())
	}
	from := w.watch.Version()
	stream, err := objects.Watch(ctx, metav1.ListOptions{
		ResourceVersion: formatVersion(from), AllowWatchBookmarks: true,
	})
	if err != nil {
		return w.gone(ctx, objects, err)
	}
	defer stream.Stop()
	resumed := w.opened
	w.opened = true
	for e := range stream.ResultChan() {
		if e.Type == watch.Error {
			return w.gone(ctx, objects, apierrors.FromObject(e.Object))
		}
		if resumed {
			w.watch.Resumed++
			resumed = false
		}
		w.event(e)
	}
	return nil
}

// gone lists again after 410 Gone, and returns other errors.
func (w *watcher) gone(ctx context.Context, objects dynamic.NamespaceableResourceInterface, err error) error {
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		return err
	}
	w.watch.Gone++
	list, err := objects.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	w.begin(list.GetResourceVersion())
	return nil
}

func (w *watcher) begin(s string) {
	v, err := version(s)
	if err != nil {
		w.log.Report("watch of %s: list: %v", w.watch.Kind, err)
		return
	}
	if v < w.watch.Version() {
		w.log.Report("watch of %s: resource versions fell: a list is at %d after version %d", w.watch.Kind, v, w.watch.Version())
	}
	w.watch.Begin(v)
	w.version.Store(v)
	w.log.Told(v)
}

func (w *watcher) event(e watch.Event) {
	o, ok := e.Object.(*unstructured.Unstructured)
	if !ok {
		w.log.Report("watch of %s: an event of type %s with %T", w.watch.Kind, e.Type, e.Object)
		return
	}
	v, err := version(o.GetResourceVersion())
	if err != nil {
		w.log.Report("watch of %s: %v", w.watch.Kind, err)
		return
	}
	key, our := ours(w.watch.Kind, o)
	switch {
	case e.Type == watch.Bookmark, !our:
		w.watch.Progress(v)
	case e.Type == watch.Modified && o.GetDeletionTimestamp() != nil:
		w.watch.Progress(v) // the first half of a pod's deletion, see finishDeletion
	case e.Type == watch.Deleted:
		w.watch.Event(history.Event{Key: key, Version: v})
	default:
		state, err := stateOf(o)
		if err != nil {
			w.log.Report("watch: %v", err)
		}
		w.watch.Event(history.Event{Key: key, Stamp: state.Stamp, Version: v, Added: e.Type == watch.Added})
	}
	w.version.Store(w.watch.Version())
	w.log.Told(v)
}
