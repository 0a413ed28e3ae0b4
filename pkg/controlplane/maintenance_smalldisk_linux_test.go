// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// sweep is from, to and step in megabytes.
var sweep = flag.String("sweep", "", "sizes in MB of the disks of TestSmallDisks, as 150-400/5; by default the few around what is needed")

// memoryDisk mounts a tmpfs of that many megabytes until the end of the test.
func memoryDisk(t *testing.T, megabytes int) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounts a file system: run it as root")
	}
	mount := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dM", megabytes), "tmpfs", mount).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", mount).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return mount
}

func sizes(t *testing.T, few ...int) []int {
	if *sweep == "" {
		return few
	}
	var from, to, step int
	if _, err := fmt.Sscanf(*sweep, "%d-%d/%d", &from, &to, &step); err != nil || step <= 0 {
		t.Fatalf("-sweep=%s: %v, want 150-400/5", *sweep, err)
	}
	few = nil
	for size := from; size <= to; size += step {
		few = append(few, size)
	}
	return few
}

// TestSmallDisks: a directory that passes the check of the first start can be written to,
// and started on again.
func TestSmallDisks(t *testing.T) {
	few := map[string][]int{"durable": {275, 285, 305}, "ephemeral": {180, 196}}
	for name, config := range map[string]func(*testing.T, string) controlplane.Config{
		"durable": func(_ *testing.T, disk string) controlplane.Config {
			return controlplane.Config{DataDir: filepath.Join(disk, "data")}
		},
		"ephemeral": func(t *testing.T, disk string) controlplane.Config {
			setTemp(t, disk)
			return controlplane.Config{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range sizes(t, few[name]...) {
				t.Run(fmt.Sprint(size), func(t *testing.T) {
					disk := memoryDisk(t, size)
					started := 0
					for try := range 3 {
						free := freeMB(t, disk)
						server, err := controlplane.Start(t.Context(), config(t, disk))
						if err != nil {
							if !errors.Is(err, etcd.ErrNoSpace) || started > 0 {
								t.Errorf("start %d with %d MB free: got %v, want it to succeed or, if it is the first, ErrNoSpace", try+1, free, err)
							}
							t.Logf("start %d with %d MB free: %.200v", try+1, free, err)
							if all := entries(t, disk); started == 0 && len(all) > 1 {
								t.Errorf("left behind: got %v, want one entry at most", all)
							}
							break
						}
						started++
						ready := freeMB(t, disk)
						for i := range 10 {
							name := fmt.Sprintf("w-%d-%d", try, i)
							if _, err := admin(t, server).CoreV1().ConfigMaps("default").Create(t.Context(), configMap(name, string(bytes.Repeat([]byte("x"), 1000))), metav1.CreateOptions{}); err != nil {
								t.Errorf("a write after start %d, with %d MB free: %v", try+1, ready, err)
								break
							}
						}
						closeServer(t, server)
						t.Logf("start %d: %d MB were free, %d when it was ready, %d at its end", try+1, free, ready, freeMB(t, disk))
					}
				})
			}
		})
	}
}

// TestStartOnADiskThatIsFull: the control plane itself has filled the disk.
func TestStartOnADiskThatIsFull(t *testing.T) {
	disk := memoryDisk(t, 300)
	cfg := controlplane.Config{DataDir: filepath.Join(disk, "data")}
	server := start(t, cfg)
	names := fillUp(t, admin(t, server), "fill", 1000)
	t.Logf("%d objects, %d MB free", len(names), freeMB(t, disk))
	closeServer(t, server)
	t.Logf("%d MB free", freeMB(t, disk))
	startsAgain(t, cfg, names)
}

// TestSmallDiskIsWrittenTo writes more than fits into etcd's log on the disk, and starts
// again: the space of old revisions is freed.
func TestSmallDiskIsWrittenTo(t *testing.T) {
	disk := memoryDisk(t, 290)
	cfg := controlplane.Config{DataDir: filepath.Join(disk, "data")}
	server := start(t, cfg)
	client := admin(t, server).CoreV1().ConfigMaps("default")
	if _, err := client.Create(t.Context(), configMap("written", "x"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i := range 260 { // 78 MB, more than a segment
		value := strings.Repeat(string(rune('a'+i%26)), 300_000)
		testwait.True(t, "a write is accepted", func() bool {
			_, err := client.Update(t.Context(), configMap("written", value), metav1.UpdateOptions{})
			if err != nil && !strings.Contains(err.Error(), "database space exceeded") {
				t.Fatal(err)
			}
			if err != nil {
				refused++
			}
			return err == nil
		})
	}
	t.Logf("%d were refused, and %d MB are free", refused, freeMB(t, disk))
	closeServer(t, server)
	server = start(t, cfg)
	testwait.True(t, "the readiness check is green", func() bool { return spaceCheck(t, admin(t, server)) == "" })
	putConfigMap(t, admin(t, server), "after", "x")
}
