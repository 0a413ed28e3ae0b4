// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package memberdir locks the data directory of a member, and removes the files of a
// failed start.
package memberdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/kubembed/kubembed/internal/dirlock"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/ownership"
)

// Directory is a locked data directory that a failed start can undo.
type Directory struct {
	Dir   string
	lock  *dirlock.Lock
	made  []string // directories that Open created, outermost first
	Fresh bool     // it had no member
}

// Open creates dir if it is missing and locks it, without ever waiting.
func Open(dir string) (_ *Directory, err error) {
	f := &Directory{Dir: dir}
	defer func() {
		if err != nil {
			f.Undo()
		}
	}()
	if err := f.make(); err != nil {
		return nil, err
	}
	switch f.lock, err = dirlock.Take(dir); {
	case errors.Is(err, dirlock.ErrLocked):
		return nil, inUseError(dir)
	case errors.Is(err, ownership.ErrUntrusted):
		return nil, fieldpath.New("etcd", "Config.Dir", "%w", err)
	case err != nil:
		return nil, errdefs.Dir(dir, err)
	}
	if err := ownership.Tree(dir); err != nil {
		return nil, fieldpath.New("etcd", "Config.Dir", "%w", err)
	}
	if err := fileutil.IsDirWriteable(dir); err != nil {
		return nil, errdefs.Dir(dir, err)
	}
	f.Fresh = !fileutil.Exist(datadir.ToMemberDir(dir))
	return f, nil
}

// make creates the directory and its missing parents, and records them.
func (f *Directory) make() error {
	for dir := f.Dir; ; dir = filepath.Dir(dir) {
		_, err := os.Stat(dir)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return errdefs.Dir(f.Dir, err)
		}
		f.made = append([]string{dir}, f.made...)
	}
	if err := os.MkdirAll(f.Dir, fileutil.PrivateDirMode); err != nil {
		return errdefs.Dir(f.Dir, err)
	}
	return nil
}

// Unlock releases the directory.
func (f *Directory) Unlock() {
	if f.lock != nil {
		f.lock.Unlock()
		f.lock = nil
	}
}

// Undo removes the files of a failed start and releases the directory. It keeps
// everything that existed before.
func (f *Directory) Undo() {
	if f.lock != nil && f.Fresh {
		_ = os.RemoveAll(datadir.ToMemberDir(f.Dir))
	}
	if f.lock != nil {
		f.lock.Remove()
		f.lock = nil
	}
	for _, v := range slices.Backward(f.made) {
		_ = os.Remove(v) // fails, as intended, unless it is empty
	}
}

func inUseError(dir string) error {
	return fieldpath.New("etcd", "Config.Dir", "%s: %w by %s: stop it, or name another directory", dir, errdefs.ErrInUse, dirlock.Owner(dir, "another member"))
}

// HasData reports whether dir holds the data of a member. A missing or empty directory
// does not, nor does one whose member was killed before its first write.
func HasData(dir string) bool {
	if wal.Exist(datadir.ToWALDir(dir)) {
		return true
	}
	info, err := os.Stat(datadir.ToBackendFileName(dir))
	return err == nil && info.Size() > 0
}
