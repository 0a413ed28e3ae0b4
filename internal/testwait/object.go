// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package testwait

import (
	"context"
	"testing"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// Named lists and watches the object of that name. The namespace is empty for
// cluster-scoped objects.
func Named(client rest.Interface, resource, namespace, name string) cache.ListerWatcher {
	return cache.NewListWatchFromClient(client, resource, namespace, fields.OneTermEqualSelector("metadata.name", name))
}

// Object watches objects of type T until condition holds for one, and returns that
// object.
func Object[T runtime.Object](t testing.TB, objects cache.ListerWatcher, example T, condition func(T) bool) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	defer cancel()
	var seen watch.Event
	event, err := watchtools.UntilWithSync(ctx, objects, example, nil, func(event watch.Event) (bool, error) {
		seen = event
		object, ok := event.Object.(T)
		return ok && event.Type != watch.Deleted && condition(object), nil
	})
	if err != nil {
		t.Fatalf("watch of %T: %v; the last event is %+v", example, err, seen)
	}
	object, ok := event.Object.(T)
	if !ok {
		t.Fatalf("watch of %T: got %T", example, event.Object)
	}
	return object
}

// Gone watches until an object is deleted, and returns at once if there is none.
func Gone[T runtime.Object](t testing.TB, objects cache.ListerWatcher, example T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	defer cancel()
	none := func(store cache.Store) (bool, error) { return len(store.List()) == 0, nil }
	_, err := watchtools.UntilWithSync(ctx, objects, example, none, func(event watch.Event) (bool, error) {
		return event.Type == watch.Deleted, nil
	})
	if err != nil {
		t.Fatalf("watch of %T until it is gone: %v", example, err)
	}
}
