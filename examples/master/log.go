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

// logInFlags replaces fields by flags in the library's log lines, as inFlags does in
// errors: in the errors of a line, and under its key "field".
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
	return l.Core.Write(entry, fieldsInFlags(fields))
}

func fieldsInFlags(fields []zapcore.Field) []zapcore.Field {
	fields = slices.Clone(fields)
	for i, field := range fields {
		switch field.Type {
		case zapcore.ErrorType:
			if err, ok := field.Interface.(error); ok {
				fields[i] = zap.NamedError(field.Key, inFlags(err))
			}
		case zapcore.StringType:
			if field.Key == "field" {
				fields[i].String = flagOf(field.String)
			}
		}
	}
	return fields
}
