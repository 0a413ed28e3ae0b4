// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestDiskFull ends etcd under a running control plane. The host continues, gets the
// cause, and gets errors instead of hanging. It is a process of its own, because a member
// that failed may leave goroutines.
func TestDiskFull(t *testing.T) {
	host := startProcess(t, "diskfull", t.TempDir())
	for _, want := range []string{
		"create: fails",
		"Err: controlplane: etcd stopped: ",
		"get: fails",
		"Close: returns",
		"the host goes on",
	} {
		if line := host.readLine(t); !strings.HasPrefix(line, want) {
			t.Errorf("the host says %q, want %q", line, want)
		} else {
			t.Log(line)
		}
	}
	if err := host.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &host.stderr)
	}
}

func init() { programs["diskfull"] = diskFullMain }

func diskFullMain(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := controlplane.Start(ctx, controlplane.Config{DataDir: args[0]})
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(server.ClientConfig())
	if err != nil {
		return err
	}
	if err := fillDisk(filepath.Join(args[0], "etcd", "member", "wal")); err != nil {
		return err
	}
	_, err = client.CoreV1().Pods("default").Create(ctx, newPod("lost"), metav1.CreateOptions{})
	if err == nil || ctx.Err() != nil {
		return fmt.Errorf("create: %w", err)
	}
	fmt.Println("create: fails:", err)
	select {
	case <-server.Done():
	case <-ctx.Done():
		return errors.New("Done is not closed")
	}
	if err := server.Err(); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("Err: %w", err)
	}
	fmt.Println("Err:", server.Err())
	_, err = client.CoreV1().Pods("default").Get(ctx, "lost", metav1.GetOptions{})
	if err == nil || ctx.Err() != nil {
		return fmt.Errorf("get: %w", err)
	}
	fmt.Println("get: fails:", err)
	// Goroutines that etcd blocks may be named in the error. All others must have ended.
	err = server.Close()
	if err != nil && strings.Contains(err.Error(), "apiserver:") {
		return fmt.Errorf("Close: %w", err)
	}
	fmt.Println("Close: returns", strings.ReplaceAll(fmt.Sprint(err), "\n", "; "))
	fmt.Println("the host goes on")
	return nil
}

// fillDisk replaces the open files of this process below dir by /dev/full: every write to
// them fails for lack of space.
func fillDisk(dir string) error {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	const self = "/proc/self/fd"
	entries, err := os.ReadDir(self)
	if err != nil {
		return err
	}
	replaced := 0
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			return err
		}
		target, err := os.Readlink(filepath.Join(self, entry.Name()))
		if err != nil || !strings.HasPrefix(target, dir+"/") {
			continue
		}
		if err := syscall.Dup3(int(full.Fd()), fd, syscall.O_CLOEXEC); err != nil {
			return err
		}
		replaced++
	}
	if replaced == 0 {
		return fmt.Errorf("no file below %s is open", dir)
	}
	return nil
}
