// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package tempdir

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kubembed/kubembed/internal/dirlock"
	"github.com/kubembed/kubembed/internal/ownership"
)

// names is the number of entries of os.TempDir to read at once.
const names = 512

// Sweep removes directories in os.TempDir that killed processes of this user have left,
// until ctx ends. It returns the removed directories, and the errors of others. Several
// processes may sweep at once.
func Sweep(ctx context.Context) (removed []string, err error) {
	parent, err := os.Open(os.TempDir())
	if err != nil {
		return nil, err
	}
	defer func() { _ = parent.Close() }() // it was only read
	var errs []error
	for ctx.Err() == nil {
		found, err := parent.Readdirnames(names)
		for _, name := range found {
			if !strings.HasPrefix(name, prefix) || ctx.Err() != nil {
				continue
			}
			path := filepath.Join(parent.Name(), name)
			swept, err := sweep(path)
			if swept {
				removed = append(removed, path)
			}
			errs = append(errs, err)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				errs = append(errs, err)
			}
			break
		}
	}
	return removed, errors.Join(errs...)
}

// sweep removes the directory at path if a killed process of this user has left it. It
// checks and removes through one open directory: it does not follow a replacement.
func sweep(path string) (swept bool, err error) {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || !ownership.Private(info) {
		return false, ignoreMissing(err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return false, ignoreMissing(err)
	}
	defer func() { _ = root.Close() }()
	if opened, err := root.Stat("."); err != nil || !os.SameFile(info, opened) || !marked(root, filepath.Base(path)) {
		return false, ignoreMissing(err)
	}
	lock, err := dirlock.TakeExisting(path)
	if errors.Is(err, dirlock.ErrLocked) {
		return false, nil
	}
	if err != nil {
		return false, ignoreMissing(err)
	}
	defer lock.Unlock()
	// Another process may have swept it before we took the lock. Or path may lead to
	// another directory by now, and we hold that one's lock.
	if named, err := os.Lstat(path); err != nil || !os.SameFile(info, named) || !marked(root, filepath.Base(path)) {
		return false, ignoreMissing(err)
	}
	if err := emptyRoot(root); err != nil {
		return false, err
	}
	lock.Unlock()
	if err := root.Remove(dirlock.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	_ = root.Close() // an open directory cannot be removed on Windows
	return true, ignoreMissing(os.Remove(path))
}

// marked reports whether the directory has a marker with its name.
func marked(root *os.Root, name string) bool {
	if info, err := root.Lstat(mark); err != nil || !ownership.Plain(info) || info.Size() != int64(len(name)) {
		return false
	}
	content, err := root.ReadFile(mark)
	return err == nil && string(content) == name
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
