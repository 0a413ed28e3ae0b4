// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package realnode

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
)

// prefix is the prefix of all names on the host.
const prefix = "kubembed-realnode-"

// cgroupfs is the mount point of cgroups on all distributions.
const cgroupfs = "/sys/fs/cgroup"

// newDir creates the directory of a run, and the cgroup of the same name for its
// containers. The end of the test removes both, and leftovers of earlier runs that were
// killed. A lock marks the directory of a running test.
func newDir(t *testing.T) string {
	t.Helper()
	removeLeftovers(t)
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := lock(dir)
	if err != nil {
		t.Fatalf("lock %s: %v", dir, err)
	}
	t.Cleanup(func() {
		if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), dir) {
			t.Errorf("a mount is left: %v\n%s", err, mounts)
		}
		if err := remove(dir); err != nil {
			t.Errorf("this is left: %v", err)
		}
		unlock()
	})
	return dir
}

// lock locks a directory until this process ends.
func lock(dir string) (unlock func(), err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return func() { _ = unix.Close(fd) }, nil
}

// removeLeftovers removes directories and cgroups of earlier runs.
func removeLeftovers(t *testing.T) {
	t.Helper()
	names := map[string]bool{}
	for _, pattern := range append(hierarchies(), os.TempDir()) {
		paths, err := filepath.Glob(filepath.Join(pattern, prefix+"*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			names[filepath.Base(path)] = true
		}
	}
	for name := range names {
		dir := filepath.Join(os.TempDir(), name)
		unlock, err := lock(dir)
		switch {
		case err == nil:
			unlock()
		case !errors.Is(err, fs.ErrNotExist):
			continue // in use, or not ours
		}
		t.Logf("removing what an earlier run left: %s", name)
		if err := remove(dir); err != nil {
			t.Errorf("this is left: %v", err)
		}
	}
}

// remove removes the directory of a run and its cgroups.
func remove(dir string) error {
	var errs []error
	for _, hierarchy := range hierarchies() {
		errs = append(errs, removeCgroup(filepath.Join(hierarchy, filepath.Base(dir))))
	}
	return errors.Join(append(errs, os.RemoveAll(dir))...)
}

// removeCgroup removes a cgroup and its descendants. The kernel keeps a cgroup for a
// moment after the end of its last process.
func removeCgroup(path string) error {
	var err error
	if wait.PollUntilContextTimeout(context.Background(), 50*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		var all []string
		_ = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		err = nil
		for _, path := range slices.Backward(all) {
			err = errors.Join(err, unix.Rmdir(path))
		}
		return err == nil, nil
	}) != nil {
		return fmt.Errorf("cgroup %s: %w", path, err)
	}
	return nil
}

// hierarchies returns the top directory of each cgroup hierarchy: one with cgroup v2,
// one for each controller with v1.
func hierarchies() []string {
	if cgroupV2() {
		return []string{cgroupfs}
	}
	var all []string
	entries, _ := os.ReadDir(cgroupfs)
	for _, entry := range entries {
		path := filepath.Join(cgroupfs, entry.Name())
		if _, err := os.Stat(filepath.Join(path, "cgroup.procs")); err == nil && entry.IsDir() {
			all = append(all, path)
		}
	}
	return all
}

func cgroupV2() bool {
	_, err := os.Stat(filepath.Join(cgroupfs, "cgroup.controllers"))
	return err == nil
}

// makeCgroup creates a cgroup in all hierarchies. The kubelet does not create its
// cgroupRoot.
func makeCgroup(path string) error {
	for _, hierarchy := range hierarchies() {
		if err := os.MkdirAll(filepath.Join(hierarchy, path), 0o755); err != nil {
			return err
		}
	}
	if !cgroupV2() {
		return nil
	}
	// A cgroup delegates controllers only on request, from the top down.
	controllers, err := os.ReadFile(filepath.Join(cgroupfs, "cgroup.controllers"))
	if err != nil {
		return err
	}
	parent := cgroupfs
	for name := range strings.SplitSeq(path, "/") {
		for controller := range strings.FieldsSeq(string(controllers)) {
			// The kubelet does not need controllers that cannot be delegated, or it
			// reports them.
			_ = os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+controller), 0)
		}
		parent = filepath.Join(parent, name)
	}
	return nil
}

// keepSysctls restores at the end of the test the settings that kubelets change in the
// kernel (k8s.io/component-helpers/node/util/sysctl).
func keepSysctls(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
	} {
		path := filepath.Join("/proc/sys", name)
		before, err := os.ReadFile(path)
		if err != nil {
			continue // missing in this kernel
		}
		t.Cleanup(func() {
			if now, err := os.ReadFile(path); err == nil && string(now) == string(before) {
				return
			}
			if err := os.WriteFile(path, before, 0); err != nil {
				t.Errorf("restore: %v", err)
			}
		})
	}
}
