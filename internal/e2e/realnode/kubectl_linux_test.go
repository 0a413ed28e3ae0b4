// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package realnode

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// kubectlCommand returns a kubectl command of the administrator to start.
func (m *master) kubectlCommand(args ...string) *exec.Cmd {
	c := m.command(m.kubectlPath, append([]string{"--kubeconfig=admin.kubeconfig"}, args...)...)
	c.Env = append(c.Env, m.env...)
	return c
}

// withSPDY returns the master with a kubectl that streams like kubectl before v1.31.
func (m *master) withSPDY() *master {
	old := *m
	old.env = append(old.env, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false", "KUBECTL_PORT_FORWARD_WEBSOCKETS=false")
	return &old
}

// tryKubectl runs a kubectl command to its end, successful or not.
func (m *master) tryKubectl(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	c := m.kubectlCommand(args...)
	c.Stdin = strings.NewReader(stdin)
	return m.run(t, c, allOfIt)
}

// kubectl runs a command that must succeed, and returns its stdout.
func (m *master) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	r := m.tryKubectl(t, "", args...)
	if r.code != 0 {
		t.Fatal(r)
	}
	return r.stdout
}

// apply applies a manifest from testdata/seed or this directory.
func (m *master) apply(t *testing.T, manifest string) string {
	t.Helper()
	return m.kubectl(t, "apply", "-f", absolute(t, manifest))
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// waitReady waits for a node or a pod.
func (m *master) waitReady(t *testing.T, object string) {
	t.Helper()
	m.kubectl(t, "wait", "--for=create", object, "--timeout=60s")
	m.kubectl(t, "wait", "--for=condition=Ready", object, "--timeout=60s")
}

// terminal opens a pseudo-terminal of 40 rows and 100 columns.
func terminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = user.Close() })
	fd := int(user.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	program = os.NewFile(peer, "terminal")
	t.Cleanup(func() { _ = program.Close() })
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 100}); err != nil {
		t.Fatal(err)
	}
	return user, program
}

// want requires all words in a text.
func want(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("got %q, want %q in it", text, w)
		}
	}
}

// wantIs requires the exact text, without surrounding space.
func wantIs(t *testing.T, text, all string) {
	t.Helper()
	if strings.TrimSpace(text) != all {
		t.Errorf("got %q, want %q", text, all)
	}
}
