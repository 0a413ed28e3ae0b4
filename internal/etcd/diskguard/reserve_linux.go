// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package diskguard

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const canReserve = true

// allocated returns the disk space of a file, which may be more than its size.
func allocated(info os.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512
	}
	return info.Size()
}

// allocate allocates disk space for the first bytes of a file, even beyond its end, and
// keeps its size.
func allocate(path string, bytes int64) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, bytes), file.Close())
}
