// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logqueue

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// freeze returns fields that another goroutine can write later. zap evaluates most fields
// when it writes, and the caller may have changed their values by then. Numbers, strings
// and times stay as they are; errors keep their chain; objects keep their structure, with
// the fields sorted by name.
func freeze(fields []zapcore.Field) []zapcore.Field {
	frozen := make([]zapcore.Field, 0, len(fields))
	for _, f := range fields {
		frozen = append(frozen, freezeField(f)...)
	}
	return frozen
}

func freezeField(f zapcore.Field) (frozen []zapcore.Field) {
	defer func() {
		if cause := recover(); cause != nil {
			frozen = []zapcore.Field{zap.String(f.Key+"Error", fmt.Sprintf("PANIC=%v", cause))}
		}
	}()
	switch f.Type {
	case zapcore.BinaryType, zapcore.ByteStringType:
		f.Interface = bytes.Clone(f.Interface.([]byte))
	case zapcore.ErrorType:
		f.Interface = freezeError(f.Interface.(error))
	case zapcore.ReflectType:
		return freezeReflected(f)
	case zapcore.StringerType, zapcore.ArrayMarshalerType, zapcore.ObjectMarshalerType, zapcore.InlineMarshalerType:
		return encode(f)
	}
	return []zapcore.Field{f}
}

// encode evaluates a field, which may become two: zap adds a field for an error.
func encode(f zapcore.Field) (fields []zapcore.Field) {
	encoder := zapcore.NewMapObjectEncoder()
	f.AddTo(encoder)
	for _, key := range slices.Sorted(maps.Keys(encoder.Fields)) {
		fields = append(fields, encoded(key, encoder.Fields[key]))
	}
	return fields
}

// encoded makes a field from a value of a MapObjectEncoder.
func encoded(key string, value any) zapcore.Field {
	switch v := value.(type) {
	case map[string]any:
		return zap.Object(key, freezeMap(v))
	case []any:
		return zap.Array(key, freezeArray(v))
	case []byte:
		return zap.Binary(key, bytes.Clone(v))
	}
	if f := zap.Any(key, value); f.Type != zapcore.ReflectType {
		return f
	}
	return zap.Reflect(key, reflected(value))
}

// object is an evaluated zapcore.ObjectMarshaler.
type object []zapcore.Field

func (o object) MarshalLogObject(encoder zapcore.ObjectEncoder) error {
	for _, f := range o {
		f.AddTo(encoder)
	}
	return nil
}

func (o object) size() int { return size(line{fields: o}) }

func freezeMap(m map[string]any) (o object) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		o = append(o, encoded(key, m[key]))
	}
	return o
}

// array is an evaluated zapcore.ArrayMarshaler.
type array []any

func (a array) MarshalLogArray(encoder zapcore.ArrayEncoder) error {
	for _, value := range a {
		var err error
		switch v := value.(type) {
		case object:
			err = encoder.AppendObject(v)
		case array:
			err = encoder.AppendArray(v)
		case string:
			encoder.AppendString(v)
		default:
			err = encoder.AppendReflected(v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a array) size() (n int) {
	for _, value := range a {
		n += 50
		switch v := value.(type) {
		case string:
			n += len(v)
		case sized:
			n += v.size()
		}
	}
	return n
}

func freezeArray(values []any) array {
	a := make(array, 0, len(values))
	for _, value := range values {
		switch v := value.(type) {
		case map[string]any:
			a = append(a, freezeMap(v))
		case []any:
			a = append(a, freezeArray(v))
		default:
			a = append(a, reflected(v))
		}
	}
	return a
}

// sized is a value that knows its approximate memory.
type sized interface{ size() int }

func freezeReflected(f zapcore.Field) []zapcore.Field {
	value, err := reflectedOrError(f.Interface)
	if err != nil {
		return []zapcore.Field{zap.String(f.Key+"Error", err.Error())}
	}
	f.Interface = value
	return []zapcore.Field{f}
}

func reflected(value any) any {
	frozen, err := reflectedOrError(value)
	if err != nil {
		return fmt.Sprint("not logged: ", err)
	}
	return frozen
}

// reflectedOrError returns value if it cannot change, or otherwise its JSON as zap's
// encoders write it.
func reflectedOrError(value any) (any, error) {
	if value == nil || constant(reflect.TypeOf(value)) {
		return value, nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return rawJSON(bytes.TrimSuffix(text.Bytes(), []byte("\n"))), nil
}

type rawJSON []byte

func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }
func (r rawJSON) String() string               { return string(r) }
func (r rawJSON) size() int                    { return len(r) }

// constant reports whether values of the type refer to nothing that can change.
func constant(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return true
	case reflect.Array:
		return constant(t.Elem())
	case reflect.Struct:
		for field := range t.Fields() {
			if !constant(field.Type) {
				return false
			}
		}
		return true
	default:
		return false
	}
}

// frozenError has the original text of an error, and its chain for errors.Is and
// errors.As.
type frozenError struct {
	text string
	err  error
}

func (e *frozenError) Error() string { return e.text }
func (e *frozenError) Unwrap() error { return e.err }
func (e *frozenError) size() int     { return len(e.text) }

// verboseError also has the second, longer text that zap asks for.
type verboseError struct {
	frozenError
	verbose string
}

func (e *verboseError) Format(state fmt.State, _ rune) { _, _ = fmt.Fprint(state, e.verbose) }
func (e *verboseError) size() int                      { return len(e.text) + len(e.verbose) }

// errorGroup also has the causes that zap asks for.
type errorGroup struct {
	frozenError
	causes []error
}

func (e *errorGroup) Errors() []error { return e.causes }

func (e *errorGroup) size() int {
	n := len(e.text)
	for _, cause := range e.causes {
		if s, ok := cause.(sized); ok {
			n += s.size()
		}
	}
	return n
}

func freezeError(err error) (frozen error) {
	plain := frozenError{err: err}
	defer func() {
		if cause := recover(); cause != nil {
			plain.text = fmt.Sprintf("PANIC=%v", cause)
			if v := reflect.ValueOf(err); v.Kind() == reflect.Pointer && v.IsNil() {
				plain.text = "<nil>"
			}
			frozen = &plain
		}
	}()
	plain.text = err.Error()
	switch e := err.(type) { //nolint:errorlint // as zap asks
	case interface{ Errors() []error }:
		g := &errorGroup{frozenError: plain}
		for _, cause := range e.Errors() {
			if cause != nil {
				g.causes = append(g.causes, freezeError(cause))
			}
		}
		return g
	case fmt.Formatter:
		return &verboseError{plain, fmt.Sprintf("%+v", e)}
	}
	return &plain
}
