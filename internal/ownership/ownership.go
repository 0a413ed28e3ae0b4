// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package ownership refuses directories and files that another user of the machine could
// have prepared, or could change while they are in use.
//
// The rule is that of PostgreSQL and OpenSSH: the owner must be the user of this process
// or root, and neither group nor others may write. The owner's private group may write to
// files. Symbolic links are followed if they also belong to this user or root. A link of
// another user would redirect our files.
//
// Parents are not checked: if another user has replaced a directory, that user owns it.
// Windows uses access lists instead of modes; nothing is checked there.
package ownership

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrUntrusted reports that another user owns a directory or a file, or may write to it.
var ErrUntrusted = errors.New("other users of this machine control it")

// Dir checks a directory. A missing directory is no error: the process that creates it
// owns it. A path that is no directory is no error either: its user reports it better.
func Dir(path string) error {
	info, err := stat(path)
	if info == nil || !info.IsDir() {
		return err
	}
	return check(path, info, otherDir)
}

// Shared checks a directory in which only single files are ours, such as the working
// directory of a user. It accepts directories like /tmp, where the sticky bit keeps
// others from replacing our files. It also accepts directories that the owner's private
// group may write to: with umask 002, the default of several distributions, that is every
// directory that the user creates.
func Shared(path string) error {
	info, err := stat(path)
	switch {
	case info == nil, !info.IsDir():
		return err
	case info.Mode()&fs.ModeSticky != 0 && trusted(info), privatelyWritable(info):
		return nil
	}
	return check(path, info, otherDir)
}

// File checks an existing file that is to be read. A missing file is no error. Like
// Shared, it accepts a file that the owner's private group may write to.
func File(path string) error {
	if err := Regular(path); err != nil {
		return err
	}
	return file(path)
}

func file(path string) error {
	info, err := stat(path)
	if info == nil {
		return err
	}
	return checkFile(path, info)
}

func checkFile(path string, info fs.FileInfo) error {
	if privatelyWritable(info) {
		return nil
	}
	return check(path, info, "")
}

// privatelyWritable reports whether only the owner, and the owner's private group, may
// write.
func privatelyWritable(info fs.FileInfo) bool {
	return info.Mode().Perm()&0o002 == 0 && trusted(info) && privateGroup(info)
}

// Regular refuses pipes, sockets and devices, which could be read forever. A missing file
// is no error, and neither is a directory: its reader reports it better.
func Regular(path string) error {
	info, _ := os.Stat(path) // the reader reports the error
	if info == nil || info.Mode().IsRegular() || info.IsDir() {
		return nil
	}
	kind := "a device"
	switch {
	case info.Mode()&fs.ModeNamedPipe != 0:
		kind = "a pipe"
	case info.Mode()&fs.ModeSocket != 0:
		kind = "a socket"
	}
	return fmt.Errorf("%s is %s: copy the content to a regular file", path, kind)
}

// Socket checks the owner of a Unix socket: who owns it answers. Its mode says who may
// connect. A missing socket is no error.
func Socket(path string) error {
	info, err := stat(path)
	if info == nil || trusted(info) {
		return err
	}
	uid, _ := owner(info)
	return fmt.Errorf("%s: %w: it belongs to user %d, and this process runs as user %d: run its server as this user or root, or chown it to user %d",
		path, ErrUntrusted, uid, os.Geteuid(), os.Geteuid())
}

// Files checks a directory that is only read, and the files in it, without those in its
// subdirectories. Like Shared, it accepts a directory that the owner's private group may
// write to. On Linux it also accepts any mode in a file system that is mounted read-only,
// such as a ConfigMap in a container: the kubelet makes its directory with mode 0777.
func Files(dir string) error {
	info, err := stat(dir)
	if err != nil {
		return err
	}
	if info != nil && info.IsDir() && !privatelyWritable(info) && (!trusted(info) || !readOnly(dir)) {
		if err := check(dir, info, otherDir); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		if err := File(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// stat follows a symbolic link at path unless it belongs to another user. For a missing
// file it returns nil and no error.
func stat(path string) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if uid, ok := owner(info); ok && !trusted(info) {
			return nil, fmt.Errorf("%s: %w: it is a symbolic link of user %d, and this process runs as user %d: name its target instead",
				path, ErrUntrusted, uid, os.Geteuid())
		}
		info, err = os.Stat(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return info, nil
}

// otherDir begins the cure for a directory.
const otherDir = "use a new subdirectory of it, or "

func check(path string, info fs.FileInfo, cure string) error {
	if uid, ok := owner(info); ok && !trusted(info) {
		return fmt.Errorf("%s: %w: it belongs to user %d, and this process runs as user %d: %sif its content is yours, chown it to user %d",
			path, ErrUntrusted, uid, os.Geteuid(), cure, os.Geteuid())
	}
	if mode := info.Mode().Perm(); writable(mode) {
		return fmt.Errorf("%s: %w: its mode %04o lets group or others write: %sif its content is yours, chmod go-w",
			path, ErrUntrusted, mode, cure)
	}
	return nil
}

// Tree checks a directory and its whole contents.
func Tree(dir string) error {
	if err := Dir(dir); err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case path == dir:
			return nil
		case entry.IsDir():
			return Dir(path)
		}
		return file(path)
	})
}

// Appended checks a file to append to, which may be missing: its directory, and the owner
// of an existing file or link.
func Appended(path string) error {
	if err := Shared(filepath.Dir(path)); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !trusted(info):
		return check(path, info, "")
	}
	return file(path)
}
