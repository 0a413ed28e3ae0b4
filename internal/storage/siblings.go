// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/utils/lru"
)

// families is the number of objects in siblings.
const families = 256

// siblings makes the objects of a watch cache share memory with a sibling: the last
// object of the same controller or, without one, of the same namespace. That may be an
// earlier version of itself. Siblings differ in little more than names, addresses and
// times. The cache keeps all versions of the last 75 seconds, each decoded by itself.
// Nobody may change objects of a watch cache in any case.
type siblings struct{ last *lru.Cache } // by UID of the controller, or namespace

// shareWithSiblings returns getAttrs for a watch cache whose objects share memory. The
// cache calls it for each object before it stores the object and shows it to others.
func shareWithSiblings(resource schema.GroupResource, getAttrs storage.AttrFunc) storage.AttrFunc {
	if (resource != schema.GroupResource{Resource: "pods"}) || getAttrs == nil {
		return getAttrs
	}
	s := siblings{lru.New(families)}
	return func(object runtime.Object) (labels.Set, fields.Set, error) {
		s.add(object)
		return getAttrs(object)
	}
}

// add lets object share memory with the last sibling, and is the next one's sibling.
func (s siblings) add(object runtime.Object) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return
	}
	var family any = accessor.GetNamespace()
	if controller := metav1.GetControllerOfNoCopy(accessor); controller != nil {
		family = controller.UID
	}
	if sibling, ok := s.last.Get(family); ok && reflect.TypeOf(sibling) == reflect.TypeOf(object) {
		share(reflect.ValueOf(object).Elem(), reflect.ValueOf(sibling).Elem())
	}
	s.last.Add(family, object)
}

// share replaces the parts of a value that are equal in another one, which it does not
// change. Unexported fields stay as they are.
func share(value, other reflect.Value) {
	switch value.Kind() {
	case reflect.Struct:
		for i := range value.NumField() {
			if field := value.Field(i); field.CanSet() {
				share(field, other.Field(i))
			}
		}
	case reflect.String:
		if value.String() == other.String() {
			value.SetString(other.String())
		}
	case reflect.Map, reflect.Pointer, reflect.Slice:
		switch {
		case value.IsNil() || other.IsNil():
		case reflect.DeepEqual(value.Interface(), other.Interface()):
			value.Set(other)
		case value.Kind() == reflect.Pointer:
			share(value.Elem(), other.Elem())
		case value.Kind() == reflect.Slice:
			for i := range min(value.Len(), other.Len()) {
				share(value.Index(i), other.Index(i))
			}
		}
	}
}
