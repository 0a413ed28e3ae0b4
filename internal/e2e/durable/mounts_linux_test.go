// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ownMounts is set if the process has its own mount namespace.
const ownMounts = "DURABLE_OWN_MOUNTS"

// separateMounts starts this program again in its own mount namespace, if its user may.
// Mount namespaces of other processes, such as tests of other packages, copy every
// mount of the namespace they leave. A file system that is also mounted there is not
// reset when it is unmounted here: once shut down, it is still shut down when it is
// mounted again.
func separateMounts() error {
	if os.Getuid() != 0 || os.Getenv(ownMounts) != "" {
		return nil
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // a namespace belongs to a thread; exec keeps this one
	defer runtime.UnlockOSThread()
	if unix.Unshare(unix.CLONE_NEWNS) != nil {
		return nil // newDisk skips the test if mounts are not allowed
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return unix.Exec(program, os.Args, append(os.Environ(), ownMounts+"=1"))
}
