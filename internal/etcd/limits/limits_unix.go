// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux || darwin || freebsd

package limits

import (
	"math"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"
)

// mapsAhead reports whether etcd maps more than the size of the database. With 32 bits
// the size that it asks for overflows.
const mapsAhead = bits.UintSize == 64

func readLimits() (l processLimits) {
	l.fileSize = softLimit(unix.RLIMIT_FSIZE)
	if used, ok := addressSpaceUsed(); ok {
		l.addressSpace, l.addressUsed = softLimit(unix.RLIMIT_AS), used
	}
	return l
}

func softLimit(resource int) int64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(resource, &limit); err != nil {
		return 0
	}
	// Infinity is the largest number, signed or unsigned.
	if soft := uint64(limit.Cur); soft < math.MaxInt64 { //nolint:unconvert // signed on FreeBSD
		return max(1, int64(soft))
	}
	return 0
}

func mapOnce(file *os.File, bytes int64) error {
	mapped, err := unix.Mmap(int(file.Fd()), 0, int(bytes), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	return unix.Munmap(mapped)
}
