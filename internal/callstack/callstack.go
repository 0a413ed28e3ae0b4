// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package callstack searches the stack of the calling goroutine for functions. It is for
// code that upstream calls without a context: there the stack is the only way to find out
// on whose behalf it runs.
package callstack

import (
	"runtime"
	"slices"
	"strings"
)

// depth is the number of searched frames, from the innermost.
const depth = 512

// Any reports whether match returns true for a function on the stack. Names are those of
// runtime.Frame: "example.com/pkg.Func", "example.com/pkg.(*T).Method".
func Any(match func(function string) bool) bool {
	pcs := make([]uintptr, depth)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if match(frame.Function) {
			return true
		}
		if !more {
			return false
		}
	}
}

// HasPrefix reports whether the name of a function on the stack begins with one of the
// prefixes.
func HasPrefix(prefixes ...string) bool {
	return Any(func(function string) bool {
		return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(function, prefix) })
	})
}
