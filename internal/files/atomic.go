// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kubembed/kubembed/internal/ownership"
)

// unfinished is part of the name of each temporary file of WriteAtomic.
const unfinished = ".unfinished-"

// WriteAtomic replaces the file at path with data. After a crash or a loss of power the
// file has the old content or the new content, never a part of either, and its mode is
// perm from the start: no other user can read it in between. Use 0600 for a kubeconfig
// or a key.
//
// The directory must exist. WriteAtomic refuses a directory that other users of the
// machine can write to, unless it is like /tmp (see ownership.Shared): a user who can
// replace a kubeconfig decides which commands its reader runs.
func WriteAtomic(path string, data []byte, perm fs.FileMode) (err error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	if err := ownership.Shared(dir); err != nil {
		return err
	}
	// CreateTemp creates the file with mode 0600.
	f, err := os.CreateTemp(dir, base+unfinished+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // a second Close does no harm
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return Rename(f.Name(), path)
}

// Rename renames a file or a directory, and syncs the directory of the new name, so that
// the new name survives a loss of power. Sync the content of the file first.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// RemoveUnfinished removes the temporary files in dir of a process that died in
// WriteAtomic. They may hold private keys. It ignores errors.
func RemoveUnfinished(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if strings.Contains(entry.Name(), unfinished) {
			_ = os.Remove(filepath.Join(dir, entry.Name()))
		}
	}
}
