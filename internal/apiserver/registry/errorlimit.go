// Package registry decorates the storage of the built-in APIs.
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

// Upstream joins the problems of an invalid object to one message, in a time that
// grows with the square of their number: those of 5,000 empty containers, a body of
// 10 kB, take 18 s. Nobody reads more than a few.

// maxErrors is how many are reported.
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

// limitErrors changes the stores behind storage, those of subresources too.
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

// stores finds the stores in a storage. Subresources keep theirs in unexported
// fields.
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

// storageProvider is upstream's storage of an API group.
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

// LimitErrors wraps providers, whose start hooks stay theirs.
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
