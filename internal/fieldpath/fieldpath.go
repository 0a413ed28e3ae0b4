// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package fieldpath gives errors their fields as data, so that a caller with a nested
// configuration can report them with its own names.
//
// Errors come from New and Errorf, and from the validation of Kubernetes: [field.Error],
// [field.ErrorList] and their aggregates. Rename changes the fields in them,
// also where they are wrapped by fmt.Errorf or errors.Join. The messages around the
// fields do not change, and errors.Is and errors.As give the same results.
package fieldpath

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Error is an error about a field.
type Error struct {
	// Package is the package that the configuration belongs to. It comes first in the
	// message. Rename clears it: the caller adds its own.
	Package string
	// Field is the path of the field, like "Config.Dir". It is empty where the error is
	// about no field, or where the message names it.
	Field string
	// Err is the error without them.
	Err error
}

// New returns an *Error with a message of Errorf.
func New(pkg, path, format string, args ...any) error {
	return &Error{Package: pkg, Field: path, Err: Errorf(format, args...)}
}

func (e *Error) Error() string {
	text := e.Err.Error()
	if e.Field != "" {
		text = e.Field + ": " + text
	}
	if e.Package != "" {
		text = e.Package + ": " + text
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Name is a field that a message mentions, for Errorf. It can be a function too.
type Name string

// Whole is a Name of a struct that a message says to leave out. A dot follows it when it
// is renamed: an entry "Config.Cluster." of Names is for it alone. It is for callers that
// have the fields of the struct among others.
type Whole string

// OneOf lists fields for a message that says to set one: "A, B or C". Fields that get the
// same name are mentioned once. Where some get the name of a flag, those without one are
// left out: the user of a program cannot set them.
type OneOf []Name

func (o OneOf) String() string {
	if last := len(o) - 1; last > 0 {
		return o[:last].join(", ") + " or " + string(o[last])
	}
	return o.join("")
}

func (o OneOf) join(separator string) string {
	names := make([]string, len(o))
	for i, name := range o {
		names[i] = string(name)
	}
	return strings.Join(names, separator)
}

func (o OneOf) rename(name func(string) string) (renamed OneOf) {
	for _, field := range o {
		if field := Name(name(string(field))); !slices.Contains(renamed, field) {
			renamed = append(renamed, field)
		}
	}
	noFlag := func(field Name) bool { return !strings.HasPrefix(string(field), "--") }
	if flags := slices.DeleteFunc(slices.Clone(renamed), noFlag); len(flags) > 0 {
		return flags
	}
	return renamed
}

// Errorf is fmt.Errorf for messages that mention fields. Rename changes arguments of the
// types Name, OneOf and Whole, and errors among the arguments. The renamed error is the
// same one for errors.Is, so that a variable can have it.
func Errorf(format string, args ...any) error {
	return &message{error: fmt.Errorf(format, args...), format: format, args: args}
}

// NameOf returns the Name of a field.
func NameOf(path *field.Path) Name { return Name(path.String()) }

const (
	// mark is before and after each name in the Origin of a *field.Error.
	mark = "\x00"
	// or is between the names of OneOf.
	or = "\x01"
)

// Detail sets the detail of a validation error to a message that mentions fields. Rename
// changes arguments of the types Name and OneOf in it. They are kept in Origin, which is
// not printed.
func Detail(err *field.Error, format string, args ...any) *field.Error {
	args = slices.Clone(args)
	for i, arg := range args {
		switch arg := arg.(type) {
		case Name:
			args[i] = mark + string(arg) + mark
		case OneOf:
			args[i] = mark + arg.join(or) + mark
		}
	}
	err.Origin = fmt.Sprintf(format, args...)
	renameDetail(err, func(path string) string { return path })
	return err
}

// renameDetail gives the names in a detail of Detail other names.
func renameDetail(err *field.Error, name func(string) string) {
	parts := strings.Split(err.Origin, mark)
	if len(parts) == 1 {
		return
	}
	printed := slices.Clone(parts)
	for i := 1; i < len(parts); i += 2 {
		var fields OneOf
		for field := range strings.SplitSeq(parts[i], or) {
			fields = append(fields, Name(field))
		}
		fields = fields.rename(name)
		parts[i], printed[i] = fields.join(or), fields.String()
	}
	err.Origin, err.Detail = strings.Join(parts, mark), strings.Join(printed, "")
}

type message struct {
	error
	format string
	args   []any
	origin *message // of a renamed message, as Errorf returned it
}

func (m *message) Unwrap() error { return m.error }

func (m *message) Is(target error) bool { return m.origin != nil && target == m.origin }

// Names maps paths to other names. A path below an entry keeps its end: with
// "Config.Etcd" for "Config.Cluster", "Config.Cluster.Join[0]" becomes
// "Config.Etcd.Join[0]". The longest entry wins.
type Names map[string]string

// Rename returns the new name of path, which is path itself if no entry is about it.
func (n Names) Rename(path string) string {
	for end := len(path); end > 0; end = strings.LastIndexAny(path[:end], ".[") {
		if name, ok := n[path[:end]]; ok {
			return name + path[end:]
		}
	}
	return path
}

// Rename returns err with another name for each of its fields.
func Rename(err error, name func(path string) string) error {
	if renamed := rename(err, name); renamed != nil {
		return renamed
	}
	return err
}

// RenameList is Rename for the result of a validation.
func RenameList(errs field.ErrorList, name func(path string) string) field.ErrorList {
	var list field.ErrorList
	for _, err := range errs {
		renamed := *err
		renamed.Field = name(err.Field)
		renameDetail(&renamed, name)
		list = append(list, &renamed)
	}
	return list
}

// rename returns nil if err has nothing to rename. It walks the chain itself, because
// each error that wraps a renamed one must be replaced too.
func rename(err error, name func(string) string) error {
	//nolint:errorlint // see above
	switch e := err.(type) {
	case *Error:
		renamed := &Error{Field: e.Field, Err: Rename(e.Err, name)}
		if e.Field != "" {
			renamed.Field = name(e.Field)
		}
		return renamed
	case *message:
		return e.rename(name)
	case *field.Error:
		return RenameList(field.ErrorList{e}, name)[0]
	case utilerrors.Aggregate:
		if list, changed := renameAll(e.Errors(), name); changed {
			if a, ok := e.(aggregate); ok {
				return aggregate{utilerrors.NewAggregate(list), a.causes}
			}
			return utilerrors.NewAggregate(list)
		}
	case *wrapper:
		return rewrap(e.text, e.outer, e.inner, name)
	case interface{ Unwrap() []error }:
		return rewrap(err.Error(), err, e.Unwrap(), name)
	case interface{ Unwrap() error }:
		return rewrap(err.Error(), err, []error{e.Unwrap()}, name)
	}
	return nil
}

func renameAll(errs []error, name func(string) string) (list []error, changed bool) {
	for _, err := range errs {
		renamed := rename(err, name)
		if renamed == nil {
			renamed = err
		} else {
			changed = true
		}
		list = append(list, renamed)
	}
	return list, changed
}

func (m *message) rename(name func(string) string) error {
	args, changed := slices.Clone(m.args), false
	for i, arg := range m.args {
		switch arg := arg.(type) {
		case Name:
			args[i], changed = Name(name(string(arg))), true
		case OneOf:
			args[i], changed = arg.rename(name), true
		case Whole:
			if whole, ok := strings.CutSuffix(name(string(arg)+"."), "."); ok {
				args[i], changed = Whole(whole), true
			} else {
				args[i], changed = Name(whole), true
			}
		case error:
			if renamed := rename(arg, name); renamed != nil {
				args[i], changed = renamed, true
			}
		}
	}
	if !changed {
		return nil
	}
	origin := cmp.Or(m.origin, m)
	return &message{error: fmt.Errorf(m.format, args...), format: m.format, args: args, origin: origin}
}

// rewrap puts renamed errors in the place of the inner ones of outer. The text of an
// error that wraps others, by fmt.Errorf or errors.Join, has theirs in it, in their
// order.
func rewrap(text string, outer error, inner []error, name func(string) string) error {
	list, changed := renameAll(inner, name)
	if !changed {
		return nil
	}
	var renamed strings.Builder
	for i, old := range inner {
		if old == nil {
			continue
		}
		if before, after, found := strings.Cut(text, old.Error()); found {
			renamed.WriteString(before + list[i].Error())
			text = after
		}
	}
	return &wrapper{text: renamed.String() + text, outer: outer, inner: list}
}

// wrapper wraps renamed errors in place of outer, whose text and inner errors have the
// old names.
type wrapper struct {
	text  string
	outer error
	inner []error
}

func (w *wrapper) Error() string { return w.text }

func (w *wrapper) Unwrap() []error { return w.inner }

// Is matches outer itself. errors.Is goes on to the inner errors.
func (w *wrapper) Is(target error) bool {
	if reflect.TypeOf(w.outer).Comparable() && w.outer == target {
		return true
	}
	is, ok := w.outer.(interface{ Is(error) bool })
	return ok && is.Is(target)
}

// As matches outer itself. errors.As goes on to the inner errors.
func (w *wrapper) As(target any) bool {
	value := reflect.ValueOf(target).Elem()
	if outer := reflect.ValueOf(w.outer); outer.Type().AssignableTo(value.Type()) {
		value.Set(outer)
		return true
	}
	as, ok := w.outer.(interface{ As(any) bool })
	return ok && as.As(target)
}
