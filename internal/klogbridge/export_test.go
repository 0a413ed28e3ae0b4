// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package klogbridge

import "go.uber.org/zap/zapcore"

// ParseLine parses a line of klog for the fuzzer.
func ParseLine(text string) (level zapcore.Level, fatal bool, message string, fields []zapcore.Field) {
	l := parse([]byte(text))
	return l.level, l.fatal, l.message, l.fields
}
