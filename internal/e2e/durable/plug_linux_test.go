// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPlugPulled is TestKill, with the loss of all data that the kernel had not written
// by itself or on request.
func TestPlugPulled(t *testing.T) {
	n := *plugs
	if testing.Short() {
		n = 2
	}
	d := newDisk(t)
	h := newHarness(t, filepath.Join(d.dir, "data"))
	h.crash = d.pullPlug
	run(t, h, n)
}

// TestPlugPulledWithoutFsyncIsFound is a mutant: without fsync, TestPlugPulled fails.
func TestPlugPulledWithoutFsyncIsFound(t *testing.T) {
	d := newDisk(t)
	h := newHarness(t, filepath.Join(d.dir, "data"))
	h.crash = d.pullPlug
	if err := h.cycle(); err != nil { // creates the directory durably
		t.Fatal(err)
	}
	h.args = []string{"--no-fsync"}
	for i := range 5 {
		err := h.cycle()
		for _, found := range h.log.Found() {
			if strings.Contains(found, ": lost: ") {
				t.Logf("in cycle %d: %d found, among them: %s", i, len(h.log.Found()), found)
				return
			}
		}
		if err != nil {
			t.Fatalf("instead of a loss: %v", err)
		}
	}
	t.Error("it was not noticed in 5 cycles")
}

// disk is an ext4 file system on a loop device.
type disk struct {
	t          *testing.T
	image, dir string
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a file system to pull the plug of")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip(err)
	}
	d := &disk{t: t, image: filepath.Join(t.TempDir(), "image"), dir: filepath.Join(t.TempDir(), "disk")}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, 1<<30); err != nil { // sparse
		t.Fatal(err)
	}
	d.run("mkfs.ext4", "-q", d.image)
	// In some containers, privileges are not enough.
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = unix.Unmount(d.dir, unix.MNT_DETACH) })
	return d
}

func (d *disk) run(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %s: %v: %s", name, args, err, out)
	}
}

// pullPlug freezes the process like a machine without power, shuts the file system down
// without another write to the device and without flushing its journal, ends the
// process, and mounts the file system again. Without the freeze, the process could
// still acknowledge a write: while a file system shuts down, fsync may succeed without
// writing.
func (d *disk) pullPlug(p *process) error {
	d.t.Helper()
	if err := p.freeze(); err != nil {
		d.t.Fatal(err)
	}
	if err := shutDown(d.dir); err != nil {
		d.t.Fatal(err)
	}
	err := p.kill()
	d.run("umount", d.dir)
	d.run("mount", "-o", "loop", d.image, d.dir)
	return err
}

// freeze stops all threads of the process. A thread in the kernel, for example in
// fsync, stops before it returns from there and can answer.
func (p *process) freeze() error {
	if err := p.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			return nil // kill reports it
		}
		return err
	}
	tasks := fmt.Sprintf("/proc/%d/task", p.cmd.Process.Pid)
	for {
		threads, err := os.ReadDir(tasks)
		if errors.Is(err, os.ErrNotExist) {
			return nil // kill reports it
		}
		if err != nil {
			return err
		}
		running := false
		for _, thread := range threads {
			stat, err := os.ReadFile(filepath.Join(tasks, thread.Name(), "stat"))
			if err != nil {
				running = true // the thread has just ended
				continue
			}
			// The state follows the name, which is in parentheses.
			state := stat[bytes.LastIndexByte(stat, ')')+2]
			running = running || !bytes.ContainsRune([]byte("TtDZX"), rune(state))
		}
		if !running {
			return nil
		}
		runtime.Gosched()
	}
}
