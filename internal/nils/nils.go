// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package nils finds values of the host that cannot be called.
package nils

import "reflect"

// Is reports whether an interface is nil, or has a nil pointer or function: most methods
// of such a value panic. A nil map or slice can have methods that work.
func Is(value any) bool {
	v := reflect.ValueOf(value)
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Func:
		return v.IsNil()
	default:
		return false
	}
}
