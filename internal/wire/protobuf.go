// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

var protobufPrefix = []byte("k8s\x00")

// Envelope is a protobuf body as Kubernetes wraps it (runtime.Unknown).
type Envelope struct {
	APIVersion, Kind string
	Message          []byte
}

// Open unwraps a protobuf body.
func Open(body []byte) (Envelope, error) {
	var e Envelope
	b, ok := bytes.CutPrefix(body, protobufPrefix)
	if !ok {
		return e, malformed("the body is no protobuf of Kubernetes: it must begin with %q", protobufPrefix)
	}
	var types []byte
	if err := once(b, map[protowire.Number]*[]byte{1: &types, 2: &e.Message}); err != nil {
		return e, err
	}
	var apiVersion, kind []byte
	if err := once(types, map[protowire.Number]*[]byte{1: &apiVersion, 2: &kind}); err != nil {
		return e, err
	}
	e.APIVersion, e.Kind = string(apiVersion), string(kind)
	return e, nil
}

// once finds fields of bytes. It refuses a repeated field: readers differ in the one that
// they use.
func once(b []byte, want map[protowire.Number]*[]byte) error {
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed("the body is not valid protobuf: %v", protowire.ParseError(n))
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, typ, b); n < 0 || typ == protowire.StartGroupType {
			return malformed("the body is not valid protobuf: field %d", number)
		}
		if at, ok := want[number]; ok {
			value, m := protowire.ConsumeBytes(b)
			if typ != protowire.BytesType || m < 0 || *at != nil {
				return malformed("the body is not valid protobuf: field %d of its envelope", number)
			}
			*at = slices.Clip(value)
			if *at == nil {
				*at = []byte{}
			}
		}
		b = b[n:]
	}
	return nil
}

// Protobuf measures a message.
//
// It is stricter than the generated code, which reads the length of a map's
// value against the end of the message instead of the entry's.
func Protobuf(b []byte, shape *Shape, limits Limits) (Cost, error) {
	m := meter{limits: limits}
	err := m.add(2 * int64(len(b)))
	if err == nil {
		err = m.message(b, shape, 1)
	}
	return m.cost, err
}

func (m *meter) message(b []byte, shape *Shape, depth int) error {
	if err := m.enter(depth); err != nil {
		return err
	}
	if err := m.span(len(b)); err != nil {
		return err
	}
	for len(b) > 0 {
		number, value, rest, err := next(b)
		if err != nil {
			return err
		}
		b = rest
		if int(number) < len(shape.fields) {
			if err := m.field(&shape.fields[number], value, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// next splits off the first field. Its value is nil unless it has a length.
func next(b []byte) (number protowire.Number, value, rest []byte, err error) {
	// Nearly all fields have a tag and a length of one byte each.
	if len(b) >= 2 && b[0] < 0x80 && b[0]>>3 > 0 && protowire.Type(b[0]&7) == protowire.BytesType && b[1] < 0x80 && len(b)-2 >= int(b[1]) {
		end := 2 + int(b[1])
		return protowire.Number(b[0] >> 3), b[2:end], b[end:], nil
	}
	number, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return 0, nil, nil, malformed("the body is not valid protobuf: %v", protowire.ParseError(n))
	}
	b = b[n:]
	switch typ {
	case protowire.BytesType:
		value, n = protowire.ConsumeBytes(b)
	case protowire.StartGroupType, protowire.EndGroupType:
		return 0, nil, nil, malformed("the body is not valid protobuf: field %d is a group, which no Kubernetes type has", number)
	default:
		n = protowire.ConsumeFieldValue(number, typ, b)
	}
	if n < 0 {
		return 0, nil, nil, malformed("the body is not valid protobuf: field %d: %v", number, protowire.ParseError(n))
	}
	return number, value, b[n:], nil
}

// field measures an occurrence of a field.
func (m *meter) field(f *field, value []byte, depth int) error {
	size := f.size
	if f.kind == packable {
		size *= max(1, int64(len(value)))
	}
	if err := m.add(size); err != nil {
		return err
	}
	switch f.kind {
	case message:
		return m.message(value, f.shape, depth+1)
	case document:
		return m.json(value, Untyped, depth)
	case mapped:
		return m.entry(f, value, depth+1)
	default:
		return nil
	}
}

// entry measures an entry of a map: field 1 is the key, 2 the value.
func (m *meter) entry(f *field, b []byte, depth int) error {
	if err := m.enter(depth); err != nil {
		return err
	}
	for len(b) > 0 {
		number, value, rest, err := next(b)
		if err != nil {
			return err
		}
		b = rest
		switch {
		case number == 1 && value == nil, number == 2 && value == nil:
			// The generated code reads a length here for any tag.
			return malformed("the body is not valid protobuf: an entry of a map is no string or message")
		case number != 2:
		case f.value == message:
			err = m.add(f.size)
			if err == nil {
				err = m.message(value, f.shape, depth+1)
			}
		case f.value == document:
			err = m.json(value, Untyped, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
