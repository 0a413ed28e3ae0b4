// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logging

// reserved are keys of every line, written by zap's encoders and this project. Upstream's
// pairs must not add a second value: many JSON readers use the last one.
var reserved = map[string]bool{
	"caller": true, "error": true, "level": true, "logger": true, "message": true, "msg": true,
	"source": true, "stacktrace": true, "time": true, "ts": true,
}

// Key returns the field name for a key of upstream's.
func Key(key string) string {
	if reserved[key] {
		return "klog_" + key
	}
	return key
}
