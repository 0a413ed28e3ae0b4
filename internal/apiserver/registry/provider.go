// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package registry decorates upstream's storage of the built-in APIs.
package registry

import (
	"reflect"

	genericregistry "k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
)

var storeType = reflect.TypeFor[*registry.Store]()

// stores returns the stores in a storage. Subresources have theirs in unexported fields.
func stores(v reflect.Value) (found []*registry.Store) {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return nil
		}
		if v.Type() == storeType {
			return []*registry.Store{(*registry.Store)(v.UnsafePointer())}
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil
	}
	for i := range v.NumField() {
		if f := v.Field(i); f.Type() == storeType || v.Type().Field(i).Anonymous {
			found = append(found, stores(f)...)
		}
	}
	return found
}

// decorate changes the stores in storage, also of subresources.
func decorate(storage rest.Storage) {
	for _, store := range stores(reflect.ValueOf(storage)) {
		limitErrors(store)
		sharePrinters(store)
	}
}

// storageProvider decorates the storage of an API group.
type storageProvider struct {
	controlplaneapiserver.RESTStorageProvider
}

func (p storageProvider) NewRESTStorage(resources serverstorage.APIResourceConfigSource, options genericregistry.RESTOptionsGetter) (genericapiserver.APIGroupInfo, error) {
	info, err := p.RESTStorageProvider.NewRESTStorage(resources, options)
	for _, version := range info.VersionedResourcesStorageMap {
		for _, storage := range version {
			decorate(storage)
		}
	}
	return info, err
}

// Decorate wraps providers so that responses list at most 100 validation errors, and all
// resources share their printers. The start hooks of the providers are kept.
func Decorate(providers []controlplaneapiserver.RESTStorageProvider) {
	for i, provider := range providers {
		wrapped := storageProvider{provider}
		providers[i] = wrapped
		if hook, ok := provider.(genericapiserver.PostStartHookProvider); ok {
			providers[i] = struct {
				storageProvider
				genericapiserver.PostStartHookProvider
			}{wrapped, hook}
		}
	}
}
