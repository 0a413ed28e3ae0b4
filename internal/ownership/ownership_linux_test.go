// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kubembed/kubembed/internal/ownership"
)

// TestPrivateGroupMayWrite: with umask 002, the files and directories of a user are
// writable for a group without other members.
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
	files := []struct {
		mode         fs.FileMode
		group        int
		file, secret bool // accepted by File, and by Secret
	}{
		{mode: 0o664, group: user, file: true},
		{mode: 0o660, group: user, file: true, secret: true},
		{mode: 0o664, group: other},
		{mode: 0o660, group: other},
		{mode: 0o666, group: user},
	}
	path := func(i int) string { return filepath.Join(base, fmt.Sprintf("file-%d", i)) }
	for i, c := range files {
		if err := errors.Join(os.WriteFile(path(i), nil, 0o600), os.Chown(path(i), user, c.group), os.Chmod(path(i), c.mode)); err != nil {
			t.Fatal(err)
		}
	}
	as(t, user, func() {
		expect(t, "Shared", ownership.Shared(private), true, "")
		expect(t, "Dir", ownership.Dir(private), false, "chmod go-w")
		expect(t, "Shared", ownership.Shared(shared), false, "chmod go-w")
		expect(t, "Files", ownership.Files(private), true, "")
		expect(t, "Files", ownership.Files(shared), false, "chmod go-w")
		for i, c := range files {
			expect(t, "File", ownership.File(path(i)), c.file, fmt.Sprintf("mode %04o", c.mode))
			if err := ownership.Secret(path(i)); c.secret != (err == nil) {
				t.Errorf("Secret of group %d, mode %04o: got %v", c.group, c.mode, err)
			}
		}
	})
}

// TestReadOnlyMounts: the directory of a ConfigMap in a container has mode 0777, and is
// mounted read-only.
func TestReadOnlyMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	dir := t.TempDir()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the mounts are this thread's
		if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
			t.Logf("not tested: no mount namespace: %v", err)
			return
		}
		// As the kubelet writes a ConfigMap.
		if err := errors.Join(
			unix.Mount("none", dir, "tmpfs", 0, "mode=0777"),
			os.Mkdir(filepath.Join(dir, "..2026"), 0o755),
			os.WriteFile(filepath.Join(dir, "..2026", "policy.yaml"), nil, 0o644),
			os.Symlink("..2026", filepath.Join(dir, "..data")),
			os.Symlink(filepath.Join("..data", "policy.yaml"), filepath.Join(dir, "policy.yaml")),
		); err != nil {
			t.Error(err)
			return
		}
		expect(t, "Files, writable", ownership.Files(dir), false, "mode 0777")
		if err := unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Error(err)
			return
		}
		expect(t, "Files", ownership.Files(dir), true, "")
		expect(t, "Dir", ownership.Dir(dir), false, "mode 0777")
	}()
	<-done
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
