// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package diskspace

import "golang.org/x/sys/windows"

// usageOf returns the free space for this user.
func usageOf(dir string) (u usage, ok bool) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return usage{}, false
	}
	var free, total uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, &total, nil); err != nil {
		return usage{}, false
	}
	return usage{free: int64(min(free, 1<<62)), total: int64(min(total, 1<<62))}, true
}
