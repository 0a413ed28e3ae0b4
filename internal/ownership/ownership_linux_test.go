// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kubembed/kubembed/internal/ownership"
)

// TestPrivateGroupMayWrite: with umask 002, a user's working directory is writable for a
// group without other members.
func TestPrivateGroupMayWrite(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("being another user needs root")
	}
	const user, other = 12345, 12346
	base := t.TempDir()
	if err := os.Chmod(filepath.Dir(base), 0o755); err != nil { // testing makes it private
		t.Fatal(err)
	}
	made := func(name string, group int) string {
		dir := filepath.Join(base, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, user, group); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o775); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	private, shared := made("private", user), made("shared", other)
	as(t, user, func() {
		expect(t, "Shared", ownership.Shared(private), true, "")
		expect(t, "Dir", ownership.Dir(private), false, "chmod go-w")
		expect(t, "Shared", ownership.Shared(shared), false, "chmod go-w")
	})
}

// as runs f as another user, in a thread that ends with f.
func as(t *testing.T, user uintptr, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), user, ^uintptr(0)); errno != 0 {
			t.Error(errno)
			return
		}
		f()
	}()
	<-done
}
