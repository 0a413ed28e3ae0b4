//go:build unix

package connlimit

import (
	"errors"
	"math"
	"os"
	"syscall"
)

// lowestNumberFirst says that new descriptors have the lowest number that is free.
const lowestNumberFirst = true

// descriptorLimit is the soft limit, which the host may raise while it runs.
func descriptorLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return unknownLimit
	}
	// int64 on some systems, where infinity is the greatest.
	soft := uint64(limit.Cur)
	if soft > math.MaxInt32 {
		soft = math.MaxInt32
	}
	return min(int(soft), systemLimit())
}

// unknownLimit is POSIX's least maximum on systems of today.
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

// temporaryErrors are failures of accept that are over when the machine has less to do, or
// with the connection.
var temporaryErrors = []error{syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EPROTO}
