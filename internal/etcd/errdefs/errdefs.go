// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package errdefs defines the errors that the packages below internal/etcd share.
// Package etcd exports and documents them.
package errdefs

import (
	"errors"
	"fmt"

	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// The errors of package etcd, which documents them.
var (
	ErrInUse        = errors.New("data directory is in use")
	ErrNewerVersion = errors.New("data directory was written by a newer etcd")
	ErrCorrupt      = errors.New("data directory is damaged")
	ErrNoSpace      = errors.New("too little room on the disk")
	ErrOtherMember  = errors.New("data directory is of another member")
	ErrOtherCluster = errors.New("another cluster")
	ErrRemoved      = errors.New("not a member of the cluster")
	ErrDataMissing  = errors.New("the member's data is missing")
	ErrHasData      = errors.New("data directory has data")
	ErrClosed       = errors.New("etcd: member is closed")
	ErrUnreachable  = errors.New("etcd does not answer")
)

// Corrupt returns ErrCorrupt about a file of a data directory.
func Corrupt(path string, err error) error {
	// The stack of bbolt's panic does not help the user.
	if p := (*contain.PanicError)(nil); errors.As(err, &p) {
		err = fmt.Errorf("%v", p.Value)
	}
	return fieldpath.New("etcd", "Config.Dir", "%w: %w: restore the directory from a backup, or name an empty one", ErrCorrupt, &FileError{path, err})
}

// FileError is the part of an error of Corrupt that is about the file. Callers for whom
// the directory is not the user's report Err alone.
type FileError struct {
	Path string
	Err  error
}

func (e *FileError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }

// Start returns err as an error of a start.
func Start(err error) error { return fieldpath.New("etcd", "", "start: %w", err) }

// Dir returns an error that names the field, the data directory and the remedy.
func Dir(dir string, err error) error {
	return fieldpath.New("etcd", "Config.Dir", "cannot use %s: %w: name a directory that this user can write to, or one that can be made", dir, err)
}
