// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package diskspace reports the free space of disks, and which directories share it.
package diskspace

// Free returns the bytes that this user may still write in dir. It reports false where
// they are unknown.
func Free(dir string) (int64, bool) {
	u, ok := usageOf(dir)
	return u.free, ok
}

// usage describes the disk of a directory.
type usage struct {
	device      uint64 // zero if unknown
	total, free int64
}

// Same reports whether two directories share their free space. Subvolumes of one pool
// (Btrfs, ZFS, APFS) have devices of their own, but the same free space.
func Same(one, other string) bool {
	a, ok := usageOf(one)
	if !ok {
		return false
	}
	b, ok := usageOf(other)
	if !ok {
		return false
	}
	return a.device != 0 && a.device == b.device || a.total > 0 && a.total == b.total && a.free == b.free
}
