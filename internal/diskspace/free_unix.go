// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !solaris && !illumos && !aix

package diskspace

import "golang.org/x/sys/unix"

// usageOf returns the free space that df shows, without root's reserve.
func usageOf(dir string) (u usage, ok bool) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return usage{}, false
	}
	// Their types differ from system to system.
	u.free = int64(fs.Bavail) * int64(fs.Bsize)  //nolint:unconvert,gosec // see above
	u.total = int64(fs.Blocks) * int64(fs.Bsize) //nolint:unconvert,gosec // see above
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err == nil {
		u.device = uint64(stat.Dev) //nolint:unconvert,gosec // see above
	}
	return u, true
}
