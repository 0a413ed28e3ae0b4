package etcd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/datadir"
)

// lockName is the lock file in the data folder. It holds the owner's process
// id, for people; the lock itself is the kernel's and ends with the process.
const lockName = "lock"

// folder is a locked data folder that remembers what was there before.
type folder struct {
	dir     string
	lock    *fileutil.LockedFile
	made    []string // folders that openFolder made, outermost first
	newLock bool     // openFolder made the lock file
	fresh   bool     // there was no member in it
}

// openFolder makes dir if it is missing and locks it, without ever waiting.
func openFolder(dir string) (_ *folder, err error) {
	f := &folder{dir: dir}
	defer func() {
		if err != nil {
			f.undo()
		}
	}()
	if err := f.make(); err != nil {
		return nil, err
	}
	if err := f.acquire(); err != nil {
		return nil, err
	}
	if err := fileutil.IsDirWriteable(dir); err != nil {
		return nil, dirError(dir, err)
	}
	f.fresh = !fileutil.Exist(datadir.ToMemberDir(dir))
	return f, nil
}

// make makes the folder and its parents and notes which ones were missing.
func (f *folder) make() error {
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

// acquire takes the lock file. A failed start elsewhere may remove the file
// between our open and our lock, so the file must still be there afterwards.
func (f *folder) acquire() error {
	path := filepath.Join(f.dir, lockName)
	for {
		f.newLock = !fileutil.Exist(path)
		lock, err := fileutil.TryLockFile(path, os.O_RDWR|os.O_CREATE, fileutil.PrivateFileMode)
		if errors.Is(err, fileutil.ErrLocked) {
			f.newLock = false
			return inUseError(f.dir, path)
		}
		if err != nil {
			f.newLock = false
			return dirError(f.dir, err)
		}
		held, err := lock.Stat()
		if err == nil {
			var named fs.FileInfo
			if named, err = os.Stat(path); err == nil && os.SameFile(held, named) {
				f.lock = lock
				break
			}
		}
		_ = lock.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return dirError(f.dir, err)
		}
	}
	// Only for the message of the next one who wants the folder.
	if err := f.lock.Truncate(0); err == nil {
		_, _ = f.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return nil
}

// unlock gives the folder free. Closing the file is what ends the lock, and
// there is nothing to be done about a file that cannot be closed.
func (f *folder) unlock() {
	if f.lock != nil {
		_ = f.lock.Close()
		f.lock = nil
	}
}

// undo removes what a failed start made and gives the folder free. Nothing
// that was there before is touched.
func (f *folder) undo() {
	if f.lock != nil && f.fresh {
		_ = os.RemoveAll(datadir.ToMemberDir(f.dir))
	}
	path := filepath.Join(f.dir, lockName)
	if f.newLock {
		_ = os.Remove(path)
	}
	f.unlock()
	for i := len(f.made) - 1; i >= 0; i-- {
		_ = os.Remove(f.made[i]) // fails, as it should, if somebody put something in
	}
}

// dirError names the field, the folder and the cure.
func dirError(dir string, err error) error {
	return fmt.Errorf("etcd: Config.Dir: cannot use %s: %w: name a folder that this user can write to, or one that can be made", dir, err)
}

func inUseError(dir, lockPath string) error {
	owner := "another member"
	if pid, err := os.ReadFile(lockPath); err == nil {
		if s := strings.TrimSpace(string(pid)); s == strconv.Itoa(os.Getpid()) {
			owner = "another member of this process"
		} else if s != "" {
			owner = "process " + s
		}
	}
	return fmt.Errorf("etcd: Config.Dir: %s: %w by %s: stop it, or name another folder", dir, ErrInUse, owner)
}
