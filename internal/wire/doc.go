// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package wire measures the bodies of API requests before they are decoded.
//
// A decoder trusts its input. Two bytes of protobuf or three of JSON become a struct of a
// kilobyte. A schema nested 100,000 levels deep overflows the stack, from which Go cannot
// recover. A protobuf map entry whose value ends after the entry is decoded twice at
// every level: 200 bytes then take forever. So this package reads the bytes once before,
// without allocating, and refuses a body that would cost more than its [Limits].
//
// Protobuf cannot be read without its types: bytes of a ConfigMap may look like a
// message. [Types] derives them from the Go types that the decoder will use. JSON, YAML
// and CBOR are measured by their syntax only.
package wire

import "fmt"

// Limits are the maximum costs of a body. All must be set.
type Limits struct {
	// Depth is the maximum nesting of objects, arrays and messages.
	Depth int
	// Bytes is the estimated memory of the decoded body, in bytes.
	Bytes int64
	// Nested is the sum of the lengths of all objects, arrays and messages, in bytes.
	// Types with a JSON encoding of their own are read again at each level.
	Nested int64
}

// Cost is the cost of a body.
type Cost struct {
	Depth  int
	Bytes  int64
	Nested int64
}

// Error is the reason for which a body is refused.
type Error struct {
	// TooLarge reports that the decoded body takes too much memory. Otherwise the body is
	// malformed, or nested too deep.
	TooLarge bool
	text     string
}

func (e *Error) Error() string { return e.text }

func malformed(format string, args ...any) error {
	return &Error{text: fmt.Sprintf(format, args...)}
}

// meter adds up a Cost.
type meter struct {
	limits Limits
	cost   Cost
}

// add counts bytes of memory.
func (m *meter) add(n int64) error {
	if m.cost.Bytes += n; m.cost.Bytes > m.limits.Bytes {
		return &Error{TooLarge: true, text: fmt.Sprintf("the body would take more than %d bytes of memory when it is decoded: it has too many elements", m.limits.Bytes)}
	}
	return nil
}

// enter counts a level. The outermost is 1.
func (m *meter) enter(depth int) error {
	if depth > m.limits.Depth {
		return malformed("the body is nested too deep: exceeded max depth of %d levels", m.limits.Depth)
	}
	m.cost.Depth = max(m.cost.Depth, depth)
	return nil
}

// span counts the length of an object, array or message.
func (m *meter) span(n int) error {
	if m.cost.Nested += int64(n); m.cost.Nested > m.limits.Nested {
		return malformed("the body is too large for its depth: the lengths of its nested objects add up to more than %d bytes", m.limits.Nested)
	}
	return nil
}

// Sizes are the sizes of the decoded parts of a JSON, YAML or CBOR body, in bytes.
type Sizes struct {
	Object  int64 // an object, whether or not it is an element
	Element int64 // an element of an array, of any type
}

var (
	// Typed are the sizes for built-in types. An element of an array is as large as the
	// largest type, even if it is a number in place of a struct: the decoder makes the
	// struct, records the error and continues.
	Typed = Sizes{Object: 1536, Element: 1536}
	// Untyped are the sizes for custom resources, which become maps and interfaces.
	Untyped = Sizes{Object: 384, Element: 64}
)
