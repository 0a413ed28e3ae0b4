// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package realnode

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a running program on a machine.
type process struct {
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when it has ended
}

// spawn starts a program. If the test fails, it logs the end of the program's output.
func (m *machine) spawn(t *testing.T, c *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: c, out: newOutput(), done: make(chan struct{})}
	if c.Stdout == nil {
		c.Stdout = p.out
	}
	if c.Stderr == nil {
		c.Stderr = p.out
	}
	if err := m.start(c, allOfIt); err != nil {
		t.Fatalf("%s: %q: %v", m.name, c.Args, err)
	}
	go func() {
		defer close(p.done)
		_ = c.Wait()
	}()
	t.Cleanup(func() {
		p.end(t, os.Kill)
		if t.Failed() {
			t.Logf("output of %q on %s:\n%s", c.Args, m.name, p.out.tail(64))
		}
	})
	return p
}

// end sends a signal and waits for the end of the process.
func (p *process) end(t *testing.T, signal os.Signal) {
	t.Helper()
	_ = p.cmd.Process.Signal(signal) // the process may have ended
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		t.Errorf("%q did not end within 30 s of %v", p.cmd.Args, signal)
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
	}
}

// waitFor waits until the output contains words, and returns all of it.
func (p *process) waitFor(t *testing.T, words string) string {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		out, more := p.out.read()
		if bytes.Contains(out, []byte(words)) {
			return string(out)
		}
		select {
		case <-more:
		case <-p.done:
			if out, _ := p.out.read(); bytes.Contains(out, []byte(words)) {
				return string(out)
			}
			t.Fatalf("%q ended without saying %q:\n%s", p.cmd.Args, words, out)
		case <-timeout:
			t.Fatalf("%q did not say %q within a minute:\n%s", p.cmd.Args, words, out)
		}
	}
}

// output keeps the output of a program.
type output struct {
	mu   sync.Mutex
	buf  []byte
	more chan struct{} // closed by the next write
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, p...)
	close(o.more)
	o.more = make(chan struct{})
	return len(p), nil
}

// read returns the output so far, and a channel that is closed when there is more.
func (o *output) read() ([]byte, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.buf), o.more
}

var number = regexp.MustCompile(`\d+`)

// tail returns the last lines without klog's repetitions.
func (o *output) tail(lines int) []byte {
	out, _ := o.read()
	var kept [][]byte
	var before []byte
	for line := range bytes.Lines(out) {
		_, message, ok := bytes.Cut(line, []byte("] ")) // after time and source
		message = number.ReplaceAll(message, nil)
		if ok && bytes.Equal(message, before) {
			continue
		}
		before = message
		kept = append(kept, line)
	}
	return bytes.Join(kept[max(0, len(kept)-lines):], nil)
}
