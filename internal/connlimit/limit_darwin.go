// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package connlimit

import (
	"math"

	"golang.org/x/sys/unix"
)

// systemLimit returns the kernel's limit for a process, whose soft limit may be infinity.
func systemLimit() int {
	limit, err := unix.SysctlUint32("kern.maxfilesperproc")
	if err != nil || limit > math.MaxInt32 {
		return 10240 // OPEN_MAX
	}
	return int(limit)
}
