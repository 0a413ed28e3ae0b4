// Package unexported reads struct fields that upstream does not export.
package unexported

import (
	"reflect"
	"unsafe"
)

// Field returns the address of a field that its package does not export. It is nil if the
// struct has no such field of type T, which may be so in another version of the package.
// v is addressable.
func Field[T any](v reflect.Value, name string) *T {
	if v.Kind() != reflect.Struct || !v.CanAddr() {
		return nil
	}
	field := v.FieldByName(name)
	if !field.IsValid() || field.Type() != reflect.TypeFor[T]() {
		return nil
	}
	return (*T)(unsafe.Pointer(field.UnsafeAddr())) //nolint:gosec // of the type that was compared
}
