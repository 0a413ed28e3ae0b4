// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package walcheck

import (
	"errors"
	"os"
	"syscall"
)

// nextData returns the offset of the next data of the file from at. It skips ranges that
// are allocated and not yet written, and is negative at the end.
func nextData(file *os.File, at int64) int64 {
	const seekData = 3 // SEEK_DATA of lseek(2)
	next, err := file.Seek(at, seekData)
	switch {
	case errors.Is(err, syscall.ENXIO): // no more data
		return -1
	case err != nil: // the file system does not support it
		return at
	}
	return next
}
