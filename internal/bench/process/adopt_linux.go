// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Adopt makes this process the parent of descendants whose own parents end before them.
func Adopt() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// Wait waits until all children of this process have ended, and returns the CPU time that
// they have used. No exec.Cmd may run.
func Wait() (time.Duration, error) {
	var cpu time.Duration
	for {
		var usage unix.Rusage
		_, err := unix.Wait4(-1, nil, 0, &usage)
		switch {
		case err == nil:
			cpu += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		case errors.Is(err, unix.ECHILD):
			return cpu, nil
		case !errors.Is(err, unix.EINTR):
			return 0, err
		}
	}
}
