// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// faults damage the files of a running control plane. member is etcd's directory.
var faults = map[string]func(member string) error{
	"log directory removed":      func(member string) error { return os.RemoveAll(filepath.Join(member, "wal")) },
	"snapshot directory removed": func(member string) error { return os.RemoveAll(filepath.Join(member, "snap")) },
	"log directory is a file": func(member string) error {
		if err := os.RemoveAll(filepath.Join(member, "wal")); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(member, "wal"), nil, 0o600)
	},
	"disk gone": func(member string) error { return shutDown(member) },
}

// TestHostSurvives breaks etcd under a running control plane. The control plane must
// stop and report why. Its process, with another control plane, must continue.
func TestHostSurvives(t *testing.T) {
	for name := range faults {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if name == "disk gone" {
				dir = filepath.Join(newDisk(t).dir, "data")
			}
			lines, err := runHost(t, dir, name)
			for _, want := range []string{"Err: controlplane: etcd stopped: ", "Close: ", "the other serves", "the host goes on"} {
				if len(lines) == 0 || !strings.HasPrefix(lines[0], want) {
					t.Fatalf("got the lines %q, want %q; %v", lines, want, err)
				}
				t.Log(lines[0])
				lines = lines[1:]
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// runHost runs hostMain and returns its output lines.
func runHost(t *testing.T, args ...string) (lines []string, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Args[0] = "durable-host"
	stderr := &strings.Builder{}
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
		lines = append(lines, scanner.Text())
	}
	if err := cmd.Wait(); err != nil {
		return lines, fmt.Errorf("the host has ended: %w: %s", err, stderr)
	}
	return lines, nil
}

func init() { programs["durable-host"] = hostMain }

// hostMain runs two control planes. One of them gets the fault.
func hostMain(args []string) error {
	dir, fault := args[0], args[1]
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	victim, err := controlplane.Start(ctx, controlplane.Config{DataDir: dir})
	if err != nil {
		return err
	}
	other, err := controlplane.Start(ctx, controlplane.Config{})
	if err != nil {
		return err
	}
	if err := faults[fault](filepath.Join(dir, "etcd", "member")); err != nil {
		return err
	}
	// etcd may notice only at the end of a segment, or at a snapshot.
	go writeMuch(ctx, victim)
	select {
	case <-victim.Done():
	case <-ctx.Done():
		return errors.New("Done is not closed")
	}
	oneLine := func(err error) string { return strings.ReplaceAll(fmt.Sprint(err), "\n", "; ") }
	fmt.Println("Err:", oneLine(victim.Err()))
	fmt.Println("Close:", oneLine(victim.Close()))
	if err := writeOne(ctx, other, "after", ""); err != nil {
		return fmt.Errorf("the other control plane: %w", err)
	}
	select {
	case <-other.Done():
		return fmt.Errorf("the other control plane: %w", other.Err())
	default:
	}
	if err := other.Close(); err != nil {
		return err
	}
	fmt.Println("the other serves")
	fmt.Println("the host goes on")
	return nil
}

// writeMuch writes small and large objects until a write fails.
func writeMuch(ctx context.Context, server *controlplane.Server) {
	large := strings.Repeat("x", 700<<10)
	for i := 0; ctx.Err() == nil; i++ {
		content := ""
		if i%8 == 0 {
			content = large
		}
		if err := writeOne(ctx, server, fmt.Sprint("object-", i%200), content); err != nil {
			return
		}
	}
}

func writeOne(ctx context.Context, server *controlplane.Server, name, content string) error {
	client, err := kubernetes.NewForConfig(server.ClientConfig())
	if err != nil {
		return err
	}
	c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"content": content, "at": time.Now().String()}}
	_, err = client.CoreV1().ConfigMaps("default").Create(ctx, c, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = client.CoreV1().ConfigMaps("default").Update(ctx, c, metav1.UpdateOptions{})
	}
	return err
}

// shutDown shuts the ext4 file system of a directory down, without another write to its
// device and without flushing its journal. From then on its users get errors.
func shutDown(dir string) error {
	const goingDown = 0x8004587d // EXT4_IOC_SHUTDOWN
	noLogFlush := uint32(2)      // EXT4_GOING_FLAGS_NOLOGFLUSH
	directory, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = directory.Close() }()
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, directory.Fd(), goingDown, uintptr(unsafe.Pointer(&noLogFlush)))
	if errno != 0 {
		return fmt.Errorf("shut down the file system: %w", errno)
	}
	return nil
}
