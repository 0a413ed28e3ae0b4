// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package ownership

import (
	"io/fs"
	"os"
	"syscall"
)

// NoFollow is a flag of os.OpenFile that refuses a symbolic link.
const NoFollow = syscall.O_NOFOLLOW

// owner returns the user who owns a file.
func owner(info fs.FileInfo) (uint32, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return stat.Uid, true
}

// trusted reports whether the owner is this process's user, or root, which can do
// anything.
func trusted(info fs.FileInfo) bool {
	uid, ok := owner(info)
	return !ok || uid == 0 || int64(uid) == int64(os.Geteuid())
}

// privateGroup reports whether a file's group is the private group of its owner, which by
// convention has the owner's number. root's group has other members.
func privateGroup(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid != 0 && stat.Gid == stat.Uid
}

func writable(mode fs.FileMode) bool { return mode&0o022 != 0 }

func readableByAll(mode fs.FileMode) bool { return mode&0o004 != 0 }

// Plain reports whether an open file is a regular file with a single name. So it is not
// another user's hard link to a file that we would overwrite.
func Plain(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return info.Mode().IsRegular() && (!ok || stat.Nlink <= 1)
}

// Private reports whether a file or directory belongs to the user of this process, and
// other users have no access. A file of root is private only to root.
func Private(info fs.FileInfo) bool {
	uid, ok := owner(info)
	return ok && int64(uid) == int64(os.Geteuid()) && info.Mode().Perm()&0o077 == 0
}
