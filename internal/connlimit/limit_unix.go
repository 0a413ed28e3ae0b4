// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package connlimit

import (
	"errors"
	"math"
	"os"
	"syscall"
)

// lowestNumberFirst reports that new descriptors have the lowest free number.
const lowestNumberFirst = true

// descriptorLimit returns the soft limit, which the host may raise at any time.
func descriptorLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return unknownLimit
	}
	// int64 on some systems, where infinity is the maximum.
	soft := min(uint64(limit.Cur), math.MaxInt32) //nolint:unconvert // int64 on some systems
	return min(int(soft), systemLimit())
}

// unknownLimit is POSIX's minimum on current systems.
const unknownLimit = 256

// openDescriptors counts the open descriptors of the process.
func openDescriptors() (int, bool) {
	if number, ok := statDescriptors(); ok {
		return number, true
	}
	dir, err := os.Open(descriptorDir)
	if errors.Is(err, syscall.EMFILE) {
		return descriptorLimit(), true
	}
	if err != nil {
		return 0, false
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0, false
	}
	return max(0, len(names)-1), true // without dir
}

const errTooMany = syscall.EMFILE

// temporaryErrors are failures of accept that pass with the load or the connection.
var temporaryErrors = []error{syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EPROTO}
