// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Audit configures the audit log.
type Audit struct {
	// LogPath is the file to which audit events are appended, one JSON object per line.
	// It is created with mode 0600. Its directory must belong to the user of the process
	// or to root, and must not be writable by others, except with the sticky bit, like
	// /tmp. If empty, there is no audit log.
	LogPath string
	// PolicyFile is the path of an audit.k8s.io/v1 Policy. If empty, all requests are
	// logged at level Metadata.
	PolicyFile string
	// MaxSizeMB is the size in megabytes at which LogPath is rotated. If zero, it is
	// never rotated. Rotation leaves a goroutine behind.
	MaxSizeMB int
	// MaxBackups is the number of rotated files to keep: the latest by the time in their
	// names. Names with a time in the future, from when the clock was wrong, are
	// corrected at the start and each minute. If zero, all files are kept. It has no
	// effect without MaxSizeMB.
	MaxBackups int
}

func (a Audit) validate() field.ErrorList {
	path := field.NewPath("Audit")
	var errs field.ErrorList
	if a.PolicyFile != "" && a.LogPath == "" {
		errs = append(errs, fieldpath.Detail(field.Required(path.Child("LogPath"), ""), "%s is set but nothing would be written", fieldpath.NameOf(path.Child("PolicyFile"))))
	}
	if a.LogPath == "-" {
		errs = append(errs, field.Invalid(path.Child("LogPath"), a.LogPath, "must be a file: standard output is the host's"))
	}
	if a.MaxSizeMB < 0 {
		errs = append(errs, field.Invalid(path.Child("MaxSizeMB"), a.MaxSizeMB, "must not be negative"))
	}
	if a.MaxBackups < 0 {
		errs = append(errs, field.Invalid(path.Child("MaxBackups"), a.MaxBackups, "must not be negative"))
	}
	return errs
}
