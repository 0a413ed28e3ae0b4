// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a long-running child process: this binary with the name of a program.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *tail
	done  chan struct{} // closed when it has ended
}

// startProcess runs a program until the end of the test, and logs the end of its output
// if the test fails. stdout gets the lines of its stdout.
func startProcess(t *testing.T, stdout io.Writer, name string, args ...string) *process {
	t.Helper()
	return startCommand(t, command(t, name, args...), stdout)
}

// startCommand is startProcess for an existing command.
func startCommand(t *testing.T, cmd *exec.Cmd, stdout io.Writer) *process {
	t.Helper()
	p := &process{name: cmd.Args[0], cmd: cmd, out: &tail{limit: 64 << 10}, done: make(chan struct{})}
	p.cmd.Stderr = p.out
	p.cmd.Stdout = p.out
	if stdout != nil {
		p.cmd.Stdout = stdout
	}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill(t)
		if t.Failed() {
			t.Logf("output of %q:\n%s", cmd.Args, p.out)
		}
	})
	return p
}

// command returns a command that runs this binary with the name of a program.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &exec.Cmd{Path: self, Args: append([]string{name}, args...), WaitDelay: 10 * time.Second}
}

// running reports whether the process still runs.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the process with SIGKILL and waits for it.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
}

// signal sends sig and waits for the end of the process.
func (p *process) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	_ = p.cmd.Process.Signal(sig) // the process may have ended
	p.wait(t)
}

// wait waits for the end of the process.
func (p *process) wait(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		t.Errorf("%s did not end within a minute", p.name)
	}
}

// tail keeps the last bytes written to it.
type tail struct {
	mu    sync.Mutex
	buf   []byte
	limit int
}

func (b *tail) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p...)
	if over := len(b.buf) - b.limit; over > 0 {
		b.buf = bytes.Clone(b.buf[over:])
	}
	return len(p), nil
}

func (b *tail) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.buf)
}
