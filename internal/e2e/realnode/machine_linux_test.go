// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package realnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The namespaces of a machine.
const (
	network   = unix.CLONE_NEWNET
	processes = unix.CLONE_NEWPID
	mounts    = unix.CLONE_NEWNS
	hostname  = unix.CLONE_NEWUTS
	allOfIt   = network | processes | mounts | hostname
)

// ownDirs are the directories of a machine that are not shared: kubelet, containerd and
// CNI plugins write to them. machine.dir has them under their base names.
var ownDirs = []string{"/var/lib", "/var/log", "/run"}

// machine is a host for the programs that start on it.
type machine struct {
	name string
	dir  string // for ownDirs and other files; has the same path inside
	pid  int    // its first process
	init int    // file descriptor of that process, for setns(2)
}

// newMachine starts a machine with an empty network. The end of the machine ends all of
// its processes.
func newMachine(t *testing.T, dir, name string) *machine {
	t.Helper()
	m := &machine{name: name, dir: filepath.Join(dir, name)}
	for _, directory := range ownDirs {
		if err := os.MkdirAll(filepath.Join(m.dir, filepath.Base(directory)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &exec.Cmd{
		Path: self, Args: []string{machineProgram, m.name, m.dir}, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: allOfIt},
	}
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatalf("machine %s: %v", name, err)
	}
	t.Cleanup(func() {
		// The kernel kills the remaining processes, and then this process ends.
		_ = stdin.Close()
		if err := c.Wait(); err != nil {
			t.Errorf("machine %s: %v", name, err)
		}
	})
	if line, err := io.ReadAll(io.LimitReader(stdout, int64(len(machineReady)))); string(line) != machineReady {
		t.Fatalf("machine %s: got the line %q, %v", name, line, err)
	}
	m.pid = c.Process.Pid
	if m.init, err = unix.PidfdOpen(m.pid, 0); err != nil {
		t.Fatalf("machine %s: %v", name, err)
	}
	t.Cleanup(func() { _ = unix.Close(m.init) })
	m.ip(t, "link", "set", "lo", "up")
	return m
}

const (
	machineProgram = "machine"
	machineReady   = "ready\n"
)

// machineMain is the first process of a machine: it mounts the machine's own
// directories, then adopts orphans until stdin ends.
func machineMain(args []string) error {
	name, dir := args[0], args[1]
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	// Without this the host would see the machine's mounts.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, directory := range ownDirs {
		if err := unix.Mount(filepath.Join(dir, filepath.Base(directory)), directory, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", directory, err)
		}
	}
	signal.Ignore(syscall.SIGCHLD) // the kernel then reaps orphans
	if _, err := os.Stdout.WriteString(machineReady); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// start starts a command on the machine, or only in some of its namespaces.
func (m *machine) start(c *exec.Cmd, namespaces int) error {
	started := make(chan error, 1)
	go func() {
		// The thread stays locked: it cannot be used again, and ends with this
		// goroutine. Child processes inherit its namespaces.
		runtime.LockOSThread()
		started <- func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil { // required by setns
				return fmt.Errorf("unshare: %w", err)
			}
			if err := unix.Setns(m.init, namespaces); err != nil {
				return fmt.Errorf("setns: %w", err)
			}
			return c.Start()
		}()
	}()
	return <-started
}

// command returns a command to start.
func (m *machine) command(path string, args ...string) *exec.Cmd {
	c := exec.Command(path, args...)
	c.Dir = m.dir
	c.Env = append(os.Environ(), "HOME="+m.dir, "TMPDIR="+m.dir, "KUBECONFIG=")
	c.WaitDelay = 10 * time.Second
	return c
}

// result is the result of a command.
type result struct {
	args           []string
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("%q\n%s%sexit code %d", r.args, r.stdout, r.stderr, r.code)
}

// run runs a command to its end, successful or not.
func (m *machine) run(t *testing.T, c *exec.Cmd, namespaces int) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	if c.Stdout == nil {
		c.Stdout, c.Stderr = &stdout, &stderr
	}
	if err := m.start(c, namespaces); err != nil {
		t.Fatalf("%s: %q: %v", m.name, c.Args, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Process.Kill() })
	defer stop()
	err := c.Wait()
	r := result{c.Args, stdout.String(), stderr.String(), c.ProcessState.ExitCode()}
	if ctx.Err() != nil {
		t.Fatalf("%s: %s\n%v", m.name, r, ctx.Err())
	}
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatalf("%s: %s\n%v", m.name, r, err)
	}
	return r
}

// commandTimeout bounds commands that end by themselves.
const commandTimeout = 2 * time.Minute

// ok runs a command that must succeed, and returns its stdout.
func (m *machine) ok(t *testing.T, path string, args ...string) string {
	t.Helper()
	r := m.run(t, m.command(path, args...), allOfIt)
	if r.code != 0 {
		t.Fatalf("%s: %s", m.name, r)
	}
	return r.stdout
}

// ip configures the network. It sees the processes of the host, so it can move an
// interface to another machine.
func (m *machine) ip(t *testing.T, args ...string) {
	t.Helper()
	if r := m.run(t, m.command("ip", args...), network); r.code != 0 {
		t.Fatalf("%s: %s", m.name, r)
	}
}
