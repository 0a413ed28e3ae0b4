// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"reflect"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// Builtin reports whether a resource is built into the server and stored, also if it is
// switched off.
func Builtin(resource schema.GroupResource) bool { return builtins().Has(resource) }

// builtins returns the built-in resources, by the names that upstream derives from kinds.
var builtins = sync.OnceValue(func() sets.Set[schema.GroupResource] {
	all := sets.Set[schema.GroupResource]{}
	for _, scheme := range []*runtime.Scheme{legacyscheme.Scheme, apiextensionsapiserver.Scheme, aggregatorscheme.Scheme} {
		for kind, typ := range scheme.AllKnownTypes() {
			_, object := typ.FieldByName("ObjectMeta")
			if object && typ.Kind() == reflect.Struct && !virtual(kind.GroupKind()) {
				resource, _ := meta.UnsafeGuessKindToResource(kind)
				all.Insert(resource.GroupResource())
			}
		}
	}
	return all
})

// virtual reports whether objects of a kind with metadata are not stored.
func virtual(kind schema.GroupKind) bool {
	switch kind.Group {
	case authenticationv1.GroupName, authorizationv1.GroupName:
		return true
	case policyv1.GroupName:
		if kind.Kind == "Eviction" {
			return true
		}
	case "":
		switch kind.Kind {
		case "Binding", "ComponentStatus", "PodStatusResult", "RangeAllocation":
			return true
		}
	}
	return kind.Kind == "Scale"
}
