// Package wire measures the bodies of API requests before they are decoded.
//
// A decoder trusts its input. Two bytes of protobuf or three of JSON become
// a struct of a kilobyte, a schema nested 100,000 levels deep overflows the
// stack, from which Go cannot recover, and a protobuf map entry whose value ends
// after the entry is decoded twice, at every level: 200 bytes then take for
// ever. So the bytes are read once beforehand, without allocating, and a body
// that would cost more than its [Limits] is refused.
//
// Protobuf cannot be read without its types: what looks like a message may be
// the bytes of a ConfigMap. [Types] derives them from the Go types that the
// decoder will use. JSON, YAML and CBOR are measured by their syntax alone.
package wire

import "fmt"

// Limits are what a body may cost. All must be set.
type Limits struct {
	// Depth is how many levels objects, arrays and messages may be nested.
	Depth int
	// Bytes is the memory that the decoded body may take, in bytes, as estimated.
	Bytes int64
	// Nested is the sum of the lengths of all objects, arrays and messages, in
	// bytes. Types with a JSON encoding of their own are read again at each level.
	Nested int64
}

// Cost is what a body would cost.
type Cost struct {
	Depth  int
	Bytes  int64
	Nested int64
}

// Error says why a body is refused.
type Error struct {
	// TooLarge says that the body takes too much memory when it is decoded.
	// Otherwise it is malformed, or nested too deep.
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

// Sizes are what the parts of a JSON, YAML or CBOR body take when they are
// decoded, in bytes.
type Sizes struct {
	Object  int64 // an object, also where it is no element
	Element int64 // an element of an array, whatever it is
}

var (
	// Typed are the sizes for built-in types. An element of an array is as large as
	// the largest type there is, even if it is a number where a struct belongs: the
	// decoder makes the struct, notes the error and goes on.
	Typed = Sizes{Object: 1536, Element: 1536}
	// Untyped are the sizes for custom resources, which become maps and interfaces.
	Untyped = Sizes{Object: 384, Element: 64}
)
