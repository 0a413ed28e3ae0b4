// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// Types are the protobuf messages of Go types from Kubernetes' generator: field numbers
// come from struct tags. It is safe for concurrent use.
type Types struct {
	mu     sync.Mutex
	shapes map[reflect.Type]*Shape
}

// Shape describes a message for measuring.
type Shape struct {
	fields []field // by number
}

// set is for the generator's numbers, which are small.
func (s *Shape) set(number int, f field) {
	for len(s.fields) <= number {
		s.fields = append(s.fields, field{})
	}
	s.fields[number] = f
}

type kind uint8

const (
	scalar   kind = iota // or a string or bytes: nothing nested
	packable             // repeated numbers
	message
	mapped   // map entries
	document // bytes that hold JSON, decoded later
)

type field struct {
	kind  kind
	size  int64  // size of each decoded occurrence, in bytes
	shape *Shape // of a message
	// Of a map entry: the kind of the value.
	value kind
}

// Of returns the shape of the message of typ, a struct.
func (t *Types) Of(typ reflect.Type) *Shape {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shapes == nil {
		t.shapes = map[reflect.Type]*Shape{}
	}
	return t.of(typ)
}

func (t *Types) of(typ reflect.Type) *Shape {
	if s, ok := t.shapes[typ]; ok {
		return s
	}
	s := &Shape{}
	t.shapes[typ] = s // before its fields: it may be recursive
	if typ.Kind() == reflect.Slice {
		// A named list, like authorization's ExtraValue: a message whose field 1 repeats.
		s.set(1, t.field(reflect.SliceOf(typ.Elem())))
		return s
	}
	if typ.Kind() != reflect.Struct {
		return s
	}
	for f := range typ.Fields() {
		number, ok := fieldNumber(f.Tag.Get("protobuf"))
		if !ok {
			continue
		}
		made := t.field(f.Type)
		if isDocument(typ, f) {
			made.kind = document
		}
		s.set(number, made)
	}
	return s
}

// field returns the shape of a field of a Go type.
func (t *Types) field(typ reflect.Type) field {
	switch {
	case typ.Kind() == reflect.Pointer:
		f := t.field(typ.Elem())
		f.size += int64(typ.Elem().Size())
		return f
	case isMessage(typ):
		return field{kind: message, shape: t.of(typ)}
	case typ.Kind() == reflect.Slice:
		element := typ.Elem()
		if element.Kind() == reflect.Uint8 {
			return field{}
		}
		f := t.field(element)
		f.size += 4 * int64(element.Size()) // includes the garbage of growing slices
		if f.kind == scalar && element.Kind() != reflect.String && element.Kind() != reflect.Slice {
			f.kind = packable
		}
		return f
	case typ.Kind() == reflect.Map:
		value := t.field(typ.Elem())
		return field{
			kind:  mapped,
			size:  2 * (value.size + int64(typ.Key().Size()+typ.Elem().Size()) + 8),
			shape: value.shape,
			value: value.kind,
		}
	default:
		return field{}
	}
}

// isMessage reports whether typ is a message of the generator.
func isMessage(typ reflect.Type) bool {
	_, ok := reflect.PointerTo(typ).MethodByName("Unmarshal")
	return ok
}

// fieldNumber returns the number in a tag like "bytes,3,opt,name=selector".
func fieldNumber(tag string) (int, bool) {
	parts := strings.Split(tag, ",")
	if len(parts) < 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(parts[1], 10, 16)
	return int(n), err == nil
}

// isDocument reports whether a field of bytes holds JSON: managedFields, raw
// extensions, and the defaults and examples of schemas.
func isDocument(typ reflect.Type, f reflect.StructField) bool {
	switch typ.Name() {
	case "FieldsV1", "RawExtension", "JSON":
		return f.Name == "Raw"
	}
	return false
}
