// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package tempdir makes temporary directories that do not outlive their process for long:
// the next process that calls [Sweep] removes the directories of killed processes.
//
// Each directory holds a lock file, locked by its process, and a marker with the name of
// the directory. Sweep removes a directory only if it belongs to this user, has its
// marker, and its lock is free. So it removes no directory that a user has named, copied
// or renamed, and none that is just being made: the marker is written after the lock is
// taken.
package tempdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kubembed/kubembed/internal/dirlock"
)

const (
	// prefix begins the names of all directories.
	prefix = "kubembed-"
	// mark is the marker of a temporary directory. It contains the directory's name.
	mark = "temporary"
)

// Dir is a temporary directory of this process.
type Dir struct {
	Path string
	lock *dirlock.Lock
}

// Make makes a directory in os.TempDir with a name of kubembed-, the kind, and a number.
// The process must not keep files called "lock" or "temporary" in it.
func Make(kind string) (*Dir, error) {
	if kind != "" {
		kind += "-"
	}
	path, err := os.MkdirTemp("", prefix+kind)
	if err != nil {
		return nil, fmt.Errorf("temporary directory (is TMPDIR writable?): %w", err)
	}
	d := &Dir{Path: path}
	if d.lock, err = dirlock.Take(path); err == nil {
		err = os.WriteFile(filepath.Join(path, mark), []byte(filepath.Base(path)), 0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("temporary directory: %w", err), d.Remove())
	}
	return d, nil
}

// Remove removes the directory with its contents. The marker and the lock go last, so
// Sweep can finish the work of a killed process. It may be called again, and on nil.
func (d *Dir) Remove() error {
	if d == nil {
		return nil
	}
	err := empty(d.Path)
	if d.lock != nil {
		d.lock.Unlock() // an open file cannot be removed on Windows
	}
	return errors.Join(err, os.RemoveAll(d.Path))
}

// Forget removes the marker, and makes the directory permanent.
func Forget(path string) error {
	if err := os.Remove(filepath.Join(path, mark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// empty removes the contents of a directory, the marker last, except the lock file.
func empty(path string) error {
	root, err := os.OpenRoot(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return emptyRoot(root)
}

func emptyRoot(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if name := entry.Name(); name != mark && name != dirlock.Name {
			if err := root.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	if err := root.Remove(mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
