// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package dirlock lets a directory be used by one owner at a time.
package dirlock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"

	"github.com/kubembed/kubembed/internal/ownership"
)

// Name is the lock file in the directory. It holds the owner's process ID for people to
// read. The lock itself is the kernel's and ends with the process.
const Name = "lock"

// ErrLocked says that the lock is taken. Owner describes its owner.
var ErrLocked = fileutil.ErrLocked

// Lock is held until Unlock or Remove.
type Lock struct {
	path string
	file *fileutil.LockedFile
	// New says that Take created the lock file.
	New bool
}

// Take locks dir, which must exist, without ever waiting. A failed start of another owner
// may remove the file between open and lock, so Take checks that the file still exists
// afterwards.
//
// It refuses a directory that another user controls (ownership.ErrUntrusted), and a lock
// file that is a link, because it writes to that file.
func Take(dir string) (*Lock, error) { return take(dir, os.O_CREATE) }

// TakeExisting is Take for a directory that has a lock file: a missing one is an error
// (fs.ErrNotExist).
func TakeExisting(dir string) (*Lock, error) { return take(dir, 0) }

func take(dir string, create int) (*Lock, error) {
	if err := ownership.Dir(dir); err != nil {
		return nil, err
	}
	l := &Lock{path: filepath.Join(dir, Name)}
	for {
		l.New = !fileutil.Exist(l.path)
		if err := plain(l.path); err != nil {
			return nil, err
		}
		file, err := fileutil.TryLockFile(l.path, os.O_RDWR|create|ownership.NoFollow, fileutil.PrivateFileMode)
		if err != nil {
			return nil, err
		}
		held, err := file.Stat()
		if err == nil {
			var named fs.FileInfo
			if named, err = os.Lstat(l.path); err == nil && os.SameFile(held, named) {
				l.file = file
				break
			}
		}
		_ = file.Close()
		if err != nil && (create == 0 || !errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
	}
	// Only for the error of the next start on the directory.
	if err := l.file.Truncate(0); err == nil {
		_, _ = l.file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return l, nil
}

// plain returns an error for a lock file that is not a regular file of this user. The
// open after it does not follow links, so it also refuses a file that is replaced in
// between.
func plain(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !ownership.Plain(info):
		return fmt.Errorf("%s: %w: it is a link or no regular file, and would be written to: find out who put it there, and delete it", path, ownership.ErrUntrusted)
	}
	return ownership.File(path)
}

// Unlock releases the directory. It may be called again. Closing the file ends the lock;
// nothing can be done about a file that cannot be closed.
func (l *Lock) Unlock() {
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

// Remove is Unlock that also removes the lock file, if Take created it.
func (l *Lock) Remove() {
	if l.file != nil && l.New {
		_ = os.Remove(l.path)
	}
	l.Unlock()
}

// Owner describes the owner of the lock of dir. Without a process ID it returns kind.
func Owner(dir, kind string) string {
	pid, err := os.ReadFile(filepath.Join(dir, Name))
	if err != nil {
		return kind
	}
	switch s := strings.TrimSpace(string(pid)); s {
	case "":
		return kind
	case strconv.Itoa(os.Getpid()):
		return kind + " of this process"
	default:
		return "process " + s
	}
}
