package etcd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/kubembed/kubembed/internal/dirlock"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/ownership"
)

// directory is a locked data directory that remembers what was there before.
type directory struct {
	dir   string
	lock  *dirlock.Lock
	made  []string // directories that openDir made, outermost first
	fresh bool     // there was no member in it
}

// openDir makes dir if it is missing and locks it, without ever waiting.
func openDir(dir string) (_ *directory, err error) {
	f := &directory{dir: dir}
	defer func() {
		if err != nil {
			f.undo()
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
		return nil, dirError(dir, err)
	}
	if err := ownership.Tree(dir); err != nil {
		return nil, fieldpath.New("etcd", "Config.Dir", "%w", err)
	}
	if err := fileutil.IsDirWriteable(dir); err != nil {
		return nil, dirError(dir, err)
	}
	f.fresh = !fileutil.Exist(datadir.ToMemberDir(dir))
	return f, nil
}

// make makes the directory and its parents and notes which ones were missing.
func (f *directory) make() error {
	for dir := f.dir; ; dir = filepath.Dir(dir) {
		_, err := os.Stat(dir)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return dirError(f.dir, err)
		}
		f.made = append([]string{dir}, f.made...)
	}
	if err := os.MkdirAll(f.dir, fileutil.PrivateDirMode); err != nil {
		return dirError(f.dir, err)
	}
	return nil
}

// unlock gives the directory free.
func (f *directory) unlock() {
	if f.lock != nil {
		f.lock.Unlock()
		f.lock = nil
	}
}

// undo removes what a failed start made and gives the directory free. Nothing
// that was there before is touched.
func (f *directory) undo() {
	if f.lock != nil && f.fresh {
		_ = os.RemoveAll(datadir.ToMemberDir(f.dir))
	}
	if f.lock != nil {
		f.lock.Remove()
		f.lock = nil
	}
	for i := len(f.made) - 1; i >= 0; i-- {
		_ = os.Remove(f.made[i]) // fails, as it should, if somebody put something in
	}
}

// dirError names the field, the directory and the cure.
func dirError(dir string, err error) error {
	return fieldpath.New("etcd", "Config.Dir", "cannot use %s: %w: name a directory that this user can write to, or one that can be made", dir, err)
}

func inUseError(dir string) error {
	return fieldpath.New("etcd", "Config.Dir", "%s: %w by %s: stop it, or name another directory", dir, ErrInUse, dirlock.Owner(dir, "another member"))
}

// HasData reports whether dir holds the data of a member. A directory that is missing or
// empty does not, nor one whose member was killed before it had written anything.
func HasData(dir string) bool {
	if wal.Exist(datadir.ToWALDir(dir)) {
		return true
	}
	info, err := os.Stat(datadir.ToBackendFileName(dir))
	return err == nil && info.Size() > 0
}
