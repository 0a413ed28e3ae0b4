// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package controlplanetest_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
)

// nobody is another user.
const nobody = 65534

// TestOtherUser: two users with one TMPDIR do not see each other's control planes, and
// cannot connect to the other's program.
func TestOtherUser(t *testing.T) {
	if directory := os.Getenv(childVariable); directory != "" {
		otherUser(t, directory)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("only root starts processes of another user")
	}
	controlplanetest.New(t, controlplanetest.Config{})
	mine := process(t)
	// The other user may not read the directories of this one.
	shared, err := os.MkdirTemp("/var/tmp", "users-")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(shared)) })
	check(t, os.Chmod(shared, 0o777|os.ModeSticky))
	for name, path := range map[string]string{"controlplanes": os.Getenv("KUBEMBED_CONTROLPLANES"), "tests": os.Args[0]} {
		check(t, copyFile(filepath.Join(shared, name), path))
	}
	t.Setenv("TMPDIR", shared)
	t.Setenv("KUBEMBED_CONTROLPLANES", filepath.Join(shared, "controlplanes"))
	t.Cleanup(func() {
		if out, err := exec.Command(filepath.Join(shared, "controlplanes"), "stop").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	controlplanetest.New(t, controlplanetest.Config{})
	if process(t) == mine {
		t.Fatal("the program of another TMPDIR serves")
	}
	sockets, err := filepath.Glob(filepath.Join(shared, "*", "*", "socket"))
	if err != nil || len(sockets) != 1 {
		t.Fatalf("%v: %v", err, sockets)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(shared, "tests"), "-test.run=^TestOtherUser$", "-test.v")
	cmd.Dir = shared
	cmd.Env = append(os.Environ(), "HOME="+shared, childVariable+"="+sockets[0])
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestOtherUser") {
		t.Errorf("%v: %s", err, out)
	}
}

// otherUser is the part of the other user. Socket is that of root's program.
func otherUser(t *testing.T, socket string) {
	if seen := status(t); !strings.Contains(seen, "no program runs") {
		t.Errorf("the program of root is seen: %s", seen)
	}
	if conn, err := net.Dial("unix", socket); err == nil {
		_ = conn.Close()
		t.Error("the socket of root accepts connections")
	}
	own := &recorder{T: t}
	controlplanetest.New(own, controlplanetest.Config{})
	if now := status(t); strings.Count(now, "process ") != 2 || strings.Count(now, "leased") != 1 {
		t.Errorf("got %s, want one program with one lease of one process", now)
	}
	own.end()
	if own.Failed() {
		t.Error(own.errors)
	}
	if out, err := exec.Command(os.Getenv("KUBEMBED_CONTROLPLANES"), "stop").CombinedOutput(); err != nil || strings.Count(string(out), "stopped") != 1 {
		t.Errorf("%v: %s", err, out)
	}
	// Root's directory in the place of one's own is refused.
	t.Setenv("TMPDIR", t.TempDir())
	squatted := filepath.Join(os.Getenv("TMPDIR"), fmt.Sprint("kubembed-pool-", nobody))
	check(t, os.Symlink(filepath.Dir(filepath.Dir(socket)), squatted))
	r := &fataler{recorder: recorder{T: t}}
	func() {
		defer func() { _ = recover() }()
		controlplanetest.New(r, controlplanetest.Config{})
	}()
	if all := strings.Join(r.errors, "\n"); !strings.Contains(all, "delete it, or set another TMPDIR") {
		t.Errorf("got %q", all)
	}
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
