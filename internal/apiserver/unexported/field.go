// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package unexported reads struct fields that upstream packages do not export.
package unexported

import (
	"reflect"
	"unsafe"
)

// Field returns the address of the field of that name in the struct v, which must be
// addressable. It returns nil if the struct has no such field of type T, as may happen in
// another version of the package.
func Field[T any](v reflect.Value, name string) *T {
	if v.Kind() != reflect.Struct || !v.CanAddr() {
		return nil
	}
	field := v.FieldByName(name)
	if !field.IsValid() || field.Type() != reflect.TypeFor[T]() {
		return nil
	}
	return (*T)(unsafe.Pointer(field.UnsafeAddr())) //nolint:gosec // The type is T.
}
