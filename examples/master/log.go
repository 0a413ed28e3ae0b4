// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// startFailed is the library's log line for an error of Start. This program prints the
// error itself.
const startFailed = "the start has failed"

// logInFlags replaces names of fields by names of flags in the library's log lines, as
// inFlags does in errors.
type logInFlags struct{ zapcore.Core }

func (l logInFlags) With(fields []zapcore.Field) zapcore.Core {
	return logInFlags{l.Core.With(fieldsInFlags(fields))}
}

func (l logInFlags) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if l.Enabled(entry.Level) && entry.Message != startFailed {
		return checked.AddCore(entry, l)
	}
	return checked
}

func (l logInFlags) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	entry.Message = flagsFor(entry.Message)
	return l.Core.Write(entry, fieldsInFlags(fields))
}

func fieldsInFlags(fields []zapcore.Field) []zapcore.Field {
	fields = slices.Clone(fields)
	for i, field := range fields {
		switch value := field.Interface.(type) {
		case error:
			fields[i] = zap.NamedError(field.Key, inFlags(value))
		case nil:
			if field.Type == zapcore.StringType {
				fields[i].String = flagsFor(field.String)
			}
		}
	}
	return fields
}
