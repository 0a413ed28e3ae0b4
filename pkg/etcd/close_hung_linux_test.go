// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// TestCloseOnAHungDisk: Close returns an error that names the disk. The directory is in
// use until the disk responds, and then complete.
func TestCloseOnAHungDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounts a file system: run it as root")
	}
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Skipf("%s: %v: %s", name, err, out)
		}
	}
	if err := errors.Join(os.Mkdir(mount, 0o700), os.WriteFile(image, nil, 0o600), os.Truncate(image, 500<<20)); err != nil {
		t.Fatal(err)
	}
	run("mkfs.ext4", "-q", "-m", "0", image)
	run("mount", "-o", "loop", image, mount)
	t.Cleanup(func() { _ = exec.Command("umount", mount).Run() })

	cfg := etcd.Config{Dir: filepath.Join(mount, "etcd")}
	m, err := etcd.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Client().Put(t.Context(), "k", "acknowledged"); err != nil {
		t.Fatal(err)
	}
	defer etcd.SetCloseTimeout(time.Second)()
	run("fsfreeze", "-f", mount)
	thaw := func() { _ = exec.Command("fsfreeze", "-u", mount).Run() }
	t.Cleanup(thaw)
	put, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := m.Client().Put(put, "k", "hangs"); err == nil {
		t.Error("a write was acknowledged while the disk hangs")
	}
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	select {
	case err := <-closed:
		if err == nil || !strings.Contains(err.Error(), cfg.Dir) || !strings.Contains(err.Error(), "is its disk hung?") {
			t.Errorf("Close: %v", err)
		}
	case <-time.After(time.Minute):
		thaw()
		t.Fatal("Close has not returned after a minute")
	}
	if _, err := etcd.Start(t.Context(), cfg); !errors.Is(err, etcd.ErrInUse) {
		t.Errorf("a start while the disk hangs: %v", err)
	}
	thaw()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = lifecycle.Poll(ctx, func() bool {
		m, err = etcd.Start(t.Context(), cfg)
		return !errors.Is(err, etcd.ErrInUse)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	got, err := m.Client().Get(t.Context(), "k")
	if err != nil || len(got.Kvs) != 1 || !strings.Contains("acknowledged hangs", string(got.Kvs[0].Value)) {
		t.Errorf("after the disk has answered: %v, %v", got, err)
	}
}
