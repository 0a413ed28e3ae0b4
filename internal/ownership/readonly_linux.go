// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package ownership

import "golang.org/x/sys/unix"

// readOnly reports whether the file system of a directory is mounted read-only here.
func readOnly(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && fs.Flags&unix.ST_RDONLY != 0
}
