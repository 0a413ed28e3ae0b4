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

// Name is the lock file in the directory. It holds the owner's process id, for people;
// the lock itself is the kernel's and ends with the process.
const Name = "lock"

// ErrLocked says that somebody has the lock. Owner tells who.
var ErrLocked = fileutil.ErrLocked

// Lock is held until Unlock or Remove.
type Lock struct {
	path string
	file *fileutil.LockedFile
	// New says that the lock file was not there before.
	New bool
}

// Take locks dir, which exists, without ever waiting. A failed start elsewhere may
// remove the file between our open and our lock, so the file must still be there
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
	// Only for the message of the next one who wants the directory.
	if err := l.file.Truncate(0); err == nil {
		_, _ = l.file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return l, nil
}

// plain returns an error for a lock file that is not a regular one of ours. The open
// after it does not follow links, so a file that is replaced in between is refused too.
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

// Unlock gives the directory free. Closing the file is what ends the lock, and there is
// nothing to be done about a file that cannot be closed. It may be called again.
func (l *Lock) Unlock() {
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

// Remove is Unlock that removes the lock file as well, if Take has made it.
func (l *Lock) Remove() {
	if l.file != nil && l.New {
		_ = os.Remove(l.path)
	}
	l.Unlock()
}

// Owner describes who holds the lock of dir; what is called when nothing is known of
// him but that he has it.
func Owner(dir, what string) string {
	pid, err := os.ReadFile(filepath.Join(dir, Name))
	if err != nil {
		return what
	}
	switch s := strings.TrimSpace(string(pid)); s {
	case "":
		return what
	case strconv.Itoa(os.Getpid()):
		return what + " of this process"
	default:
		return "process " + s
	}
}
