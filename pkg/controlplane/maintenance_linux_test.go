// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// smallDisk mounts a file system of that many megabytes until the end of the test.
func smallDisk(t *testing.T, megabytes int) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounts a file system: run it as root")
	}
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, int64(megabytes)<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-m", "0", image).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4: %v: %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, mount).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", mount).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return mount
}

// TestFullDisk: when other files fill the disk, no acknowledged write is lost and the
// control plane keeps running. It accepts writes again when space is free.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, 450)
	config := controlplane.Config{DataDir: filepath.Join(disk, "data")}
	server := start(t, config)
	client := admin(t, server)

	// Writers that stop at their first refusal.
	value := strings.Repeat("x", 20_000)
	var acknowledged sync.Map
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("w%d-%d", w, i)
				_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), configMap(name, value), metav1.CreateOptions{})
				if err != nil {
					if !strings.Contains(err.Error(), "database space exceeded") {
						t.Errorf("a write: got %v, want database space exceeded", err)
					}
					return
				}
				acknowledged.Store(name, true)
			}
		})
	}
	testwait.True(t, "two hundred writes", func() bool {
		n := 0
		acknowledged.Range(func(any, any) bool { n++; return true })
		return n >= 200 || t.Failed()
	})
	filler, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = filler.Close() }()
	// All remaining blocks.
	for size := int64(0); ; size += 1 << 20 {
		if err := unix.Fallocate(int(filler.Fd()), 0, size, 1<<20); err != nil {
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			break
		}
	}
	writers.Wait()
	if text := spaceCheck(t, client); !strings.Contains(text, "bytes are free") {
		t.Errorf("the readiness check: got %q, want that it says how many bytes are free", text)
	}
	acknowledged.Range(func(name, _ any) bool {
		if _, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), name.(string), metav1.GetOptions{}); err != nil {
			t.Errorf("a read: %v", err)
		}
		return !t.Failed()
	})
	select {
	case <-server.Done():
		t.Fatalf("the control plane has ended: %v", server.Err())
	default:
	}

	if err := filler.Truncate(0); err != nil {
		t.Fatal(err)
	}
	testwait.True(t, "the readiness check is green", func() bool { return spaceCheck(t, client) == "" })
	putConfigMap(t, client, "after", "x")
	closeServer(t, server)

	server = start(t, config)
	n := 0
	acknowledged.Range(func(name, _ any) bool {
		n++
		if _, err := admin(t, server).CoreV1().ConfigMaps("default").Get(t.Context(), name.(string), metav1.GetOptions{}); err != nil {
			t.Errorf("after a restart: %v", err)
		}
		return !t.Failed()
	})
	t.Logf("%d acknowledged writes", n)
}

func TestStartOnAFullDisk(t *testing.T) {
	disk := smallDisk(t, 50)
	dir := filepath.Join(disk, "data")
	_, err := controlplane.Start(t.Context(), controlplane.Config{DataDir: dir})
	if !errors.Is(err, etcd.ErrNoSpace) || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v, want that the disk is too small", err)
	}
}
