// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage_test

import (
	"context"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/kubernetes/pkg/apis/core"
	configmapstore "k8s.io/kubernetes/pkg/registry/core/configmap/storage"
)

// held returns a storage with one object, whose watch cache is not filled before release.
func held(t *testing.T) (_ *genericregistry.Store, release func()) {
	t.Helper()
	s := start(t)
	first, err := configmapstore.NewREST(s.getter(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Destroy()
	createAndGet(t, first, "c", &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "default"}})
	gate := make(chan struct{})
	s.kv.hold(gate)
	again, err := configmapstore.NewREST(s.getter(nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Destroy)
	return again.Store, func() { close(gate) }
}

// TestListAndWatchWaitForTheCache: upstream would ask the client to retry after a second.
func TestListAndWatchWaitForTheCache(t *testing.T) {
	for name, ask := range map[string]func(*genericregistry.Store) error{
		"list": func(store *genericregistry.Store) error {
			list, err := store.List(namespaced(t), nil)
			if err == nil && len(list.(*core.ConfigMapList).Items) != 1 {
				t.Errorf("listed %v", list)
			}
			return err
		},
		"watch": func(store *genericregistry.Store) error {
			watcher, err := store.Watch(namespaced(t), &internalversion.ListOptions{ResourceVersion: "1"})
			if err == nil {
				watcher.Stop()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			store, release := held(t)
			// Before that it is refused, or waits.
			time.AfterFunc(20*time.Millisecond, release)
			if err := ask(store); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestUnfilledCacheReturnsUpstreamsError: a client that does not wait gets upstream's
// error.
func TestUnfilledCacheReturnsUpstreamsError(t *testing.T) {
	store, release := held(t)
	defer release()
	ctx, cancel := context.WithCancel(namespaced(t))
	cancel()
	_, err := store.List(ctx, nil)
	if _, retry := apierrors.SuggestsClientDelay(err); !apierrors.IsTooManyRequests(err) || !retry {
		t.Errorf("list: %v", err)
	}
}
