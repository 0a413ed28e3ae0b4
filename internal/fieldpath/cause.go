// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package fieldpath

import (
	"errors"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Invalid is field.Invalid for a value that has led to an error. Aggregate keeps that
// error for errors.Is.
func Invalid(path *field.Path, value string, err error) *field.Error {
	return field.Invalid(path, cause{value, err}, err.Error())
}

// cause is a bad value, which is printed as a string, and the error about it.
type cause struct {
	value string
	err   error
}

// MarshalText implements encoding.TextMarshaler: field.Error prints values as JSON.
func (c cause) MarshalText() ([]byte, error) { return []byte(c.value), nil }

// Aggregate is ToAggregate, with the errors of Invalid for errors.Is.
func Aggregate(errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	var causes []error
	for _, err := range errs {
		if c, ok := err.BadValue.(cause); ok {
			causes = append(causes, c.err)
		}
	}
	return aggregate{errs.ToAggregate(), errors.Join(causes...)}
}

type aggregate struct {
	utilerrors.Aggregate
	causes error
}

// Is implements the interface of errors.Is.
func (a aggregate) Is(target error) bool {
	return a.Aggregate.Is(target) || errors.Is(a.causes, target)
}
