// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package registry decorates upstream's storage of the built-in APIs.
package registry

import (
	"context"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
)

// Upstream joins the validation errors of an object to one message, in time that grows
// with the square of their number. The errors of 5,000 empty containers, a body of 10 kB,
// take 18 s.

// maxErrors is the number of validation errors that a response lists.
const maxErrors = 100

func limit(errs field.ErrorList) field.ErrorList {
	if more := len(errs) - maxErrors; more > 0 {
		return append(errs[:maxErrors:maxErrors], field.Forbidden(field.NewPath("metadata"), fmt.Sprintf("the object has %d more problems, which are not listed", more)))
	}
	return errs
}

type createStrategy struct{ rest.RESTCreateStrategy }

func (s createStrategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	return limit(s.RESTCreateStrategy.Validate(ctx, obj))
}

type updateStrategy struct{ rest.RESTUpdateStrategy }

func (s updateStrategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	return limit(s.RESTUpdateStrategy.ValidateUpdate(ctx, obj, old))
}

// limitErrors changes the stores in storage, also of subresources.
func limitErrors(storage rest.Storage) {
	for _, store := range stores(reflect.ValueOf(storage)) {
		if _, done := store.CreateStrategy.(createStrategy); store.CreateStrategy != nil && !done {
			store.CreateStrategy = createStrategy{store.CreateStrategy}
		}
		if _, done := store.UpdateStrategy.(updateStrategy); store.UpdateStrategy != nil && !done {
			store.UpdateStrategy = updateStrategy{store.UpdateStrategy}
		}
	}
}

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

// storageProvider limits the validation errors of an API group.
type storageProvider struct {
	controlplaneapiserver.RESTStorageProvider
}

func (p storageProvider) NewRESTStorage(resources serverstorage.APIResourceConfigSource, options genericregistry.RESTOptionsGetter) (genericapiserver.APIGroupInfo, error) {
	info, err := p.RESTStorageProvider.NewRESTStorage(resources, options)
	for _, version := range info.VersionedResourcesStorageMap {
		for _, storage := range version {
			limitErrors(storage)
		}
	}
	return info, err
}

// LimitErrors wraps providers so that responses list at most 100 validation errors. Their
// start hooks are kept.
func LimitErrors(providers []controlplaneapiserver.RESTStorageProvider) {
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
