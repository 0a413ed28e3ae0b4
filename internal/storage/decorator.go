// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/tools/cache"
)

// decorator is genericregistry.StorageWithCacher and generic.UndecoratedStorage
// (k8s.io/apiserver/pkg/registry/generic) over the shared client.
func (b *Backend) decorator(cached bool) generic.StorageDecorator {
	return func(
		config *storagebackend.ConfigForResource,
		resourcePrefix string,
		keyFunc func(obj runtime.Object) (string, error),
		newFunc, newListFunc func() runtime.Object,
		getAttrs storage.AttrFunc,
		trigger storage.IndexerFuncs,
		indexers *cache.Indexers,
	) (storage.Interface, factory.DestroyFunc, error) {
		store, destroyStore, err := b.newStore(config, newFunc, newListFunc, resourcePrefix)
		if err != nil {
			return nil, func() {}, err
		}
		if !cached {
			return store, b.own(destroyStore), nil
		}
		c, err := cacher.NewCacherFromConfig(cacher.Config{
			Storage:             store,
			Versioner:           storage.APIObjectVersioner{},
			GroupResource:       config.GroupResource,
			EventsHistoryWindow: config.EventsHistoryWindow,
			ResourcePrefix:      resourcePrefix,
			KeyFunc:             keyFunc,
			NewFunc:             newFunc,
			NewListFunc:         newListFunc,
			GetAttrsFunc:        shareWithSiblings(config.GroupResource, getAttrs),
			IndexerFuncs:        trigger,
			Indexers:            indexers,
			Codec:               config.Codec,
			Clock:               sharedClock{near: b.home(config.GroupResource).availability == nil},
		})
		if err != nil {
			destroyStore()
			return nil, func() {}, fmt.Errorf("storage: watch cache of %s: %w", config.GroupResource, err)
		}
		delegator := cacher.NewCacheDelegator(c, store)
		if relayed(config.GroupResource) {
			bePatient(c)
		}
		return warming{delegator, c, config.GroupResource}, b.own(func() {
			delegator.Stop()
			c.Stop()
			destroyStore()
		}), nil
	}
}

// Uncached is storagebackend/factory.Create over the shared client, for objects without a
// registry. Close destroys the storage if nothing else has.
func (b *Backend) Uncached(config *storagebackend.ConfigForResource, resourcePrefix string) (storage.Interface, factory.DestroyFunc, error) {
	return b.decorator(false)(config, resourcePrefix, nil, nil, nil, nil, nil, nil)
}

// newStore is newETCD3Storage of k8s.io/apiserver's storagebackend/factory
// without its dialling.
func (b *Backend) newStore(config *storagebackend.ConfigForResource, newFunc, newListFunc func() runtime.Object, resourcePrefix string) (storage.Interface, factory.DestroyFunc, error) {
	transformer := config.Transformer
	if transformer == nil {
		transformer = identity.NewEncryptCheckTransformer()
	}
	versioner := storage.APIObjectVersioner{}
	decoder := etcd3.NewDefaultDecoder(config.Codec, versioner)
	unsafeDeletion := utilfeature.DefaultFeatureGate.Enabled(features.AllowUnsafeMalformedObjectDeletion)
	if unsafeDeletion {
		transformer = etcd3.WithCorruptObjErrorHandlingTransformer(transformer)
		decoder = etcd3.WithCorruptObjErrorHandlingDecoder(decoder)
	}
	home := b.home(config.GroupResource)
	store, err := etcd3.New(home.clientFor(config.GroupResource), home.compactor, config.Codec, newFunc, newListFunc, config.Prefix, resourcePrefix,
		config.GroupResource, transformer, config.LeaseManagerConfig, decoder, versioner)
	if err != nil {
		return nil, nil, fmt.Errorf("storage: etcd store of %s: %w", config.GroupResource, err)
	}
	var s storage.Interface = listing{store}
	if unsafeDeletion {
		s = etcd3.NewStoreWithUnsafeCorruptObjectDeletion(s, config.GroupResource)
	}
	s = b.observed(config.GroupResource, s)
	b.remember(config.GroupResource, Store{Interface: s, ResourcePrefix: resourcePrefix})
	return s, store.Close, nil
}
