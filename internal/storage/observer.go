// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
)

// Observer is called with the revision of an object that was written or read, before the
// client gets its response. A reader may see a write before its writer gets a response.
type Observer func(ctx context.Context, revision uint64)

// Observe sets the observers of writes, and of reads from etcd, for storages that are
// created later.
func (b *Backend) Observe(observers func(schema.GroupResource) Observer) { b.observers = observers }

func (b *Backend) observed(resource schema.GroupResource, store storage.Interface) storage.Interface {
	if b.observers == nil {
		return store
	}
	return observedStore{store, b.observers(resource)}
}

// observedStore observes writes and reads.
type observedStore struct {
	storage.Interface
	observer Observer
}

func (s observedStore) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	return s.note(ctx, out, s.Interface.Get(ctx, key, opts, out))
}

func (s observedStore) Create(ctx context.Context, key string, object, out runtime.Object, ttl uint64) error {
	return s.note(ctx, out, s.Interface.Create(ctx, key, object, out, ttl))
}

// Delete sets the revision of the deletion in out.
func (s observedStore) Delete(ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc, cached runtime.Object, opts storage.DeleteOptions) error {
	return s.note(ctx, out, s.Interface.Delete(ctx, key, out, preconditions, validate, cached, opts))
}

// GuaranteedUpdate may change nothing. It then notes an older revision.
func (s observedStore) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, update storage.UpdateFunc, cached runtime.Object) error {
	return s.note(ctx, out, s.Interface.GuaranteedUpdate(ctx, key, out, ignoreNotFound, preconditions, update, cached))
}

func (s observedStore) note(ctx context.Context, out runtime.Object, err error) error {
	if err != nil || out == nil {
		return err
	}
	if revision, failure := (storage.APIObjectVersioner{}).ObjectResourceVersion(out); failure == nil {
		s.observer(ctx, revision)
	}
	return nil
}
