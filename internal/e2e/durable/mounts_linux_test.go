package durable

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ownMounts says that the process has a mount namespace of its own.
const ownMounts = "DURABLE_OWN_MOUNTS"

// separateMounts starts this program again in a mount namespace of its own, as far as
// its user may have one. A namespace that another process makes, such as a test of
// another package, copies every mount of the one it leaves. A file system that is
// mounted there too stays as it is when it is unmounted here: once shut down it is
// still shut down when it is mounted again.
func separateMounts() error {
	if os.Getuid() != 0 || os.Getenv(ownMounts) != "" {
		return nil
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // a namespace is its thread's; the exec keeps this one
	defer runtime.UnlockOSThread()
	if unix.Unshare(unix.CLONE_NEWNS) != nil {
		return nil // newDisk skips where mounts are not allowed
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return unix.Exec(program, os.Args, append(os.Environ(), ownMounts+"=1"))
}
