// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// container stands for a container of the kubelet: a directory to execute commands in,
// and a log. Its program prints the lines that it reads.
type container struct {
	dir, log string

	mu    sync.Mutex
	out   map[io.Writer]bool // of attached clients
	ended chan struct{}
	once  sync.Once
}

func newContainer(dir string) (*container, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &container{dir: dir, log: dir + ".log", out: map[io.Writer]bool{}, ended: make(chan struct{})}, nil
}

// print writes a line to the log and to all attached clients.
func (c *container) print(line string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	log, err := os.OpenFile(c.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(log, "%s stdout F %s\n", time.Now().Format(time.RFC3339Nano), line)
	for out := range c.out {
		_, _ = fmt.Fprintln(out, line) // the client may be gone
	}
	return errors.Join(err, log.Close())
}

// attach prints the lines of in, and writes everything that is printed to out, until in
// or the container ends.
func (c *container) attach(ctx context.Context, in io.Reader, out io.Writer) error {
	c.mu.Lock()
	c.out[out] = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.out, out)
		c.mu.Unlock()
	}()
	if in == nil {
		select {
		case <-ctx.Done():
		case <-c.ended:
		}
		return nil
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if err := c.print(lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (c *container) end() { c.once.Do(func() { close(c.ended) }) }

// exec runs a command of this machine in the directory of the container.
func (c *container) exec(ctx context.Context, args []string, in io.Reader, out, stderr io.Writer, tty bool, resize <-chan remotecommand.TerminalSize) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = c.dir, []string{"PATH=" + os.Getenv("PATH"), "PS1=$ "}
	if tty {
		return runInTerminal(cmd, in, out, resize)
	}
	cmd.Stdout, cmd.Stderr = out, stderr
	if in != nil {
		// With a pipe, Wait does not wait for the end of in.
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(stdin, in)
			_ = stdin.Close()
		}()
	}
	return cmd.Run()
}

// runInTerminal runs a command as the leader of a terminal.
func runInTerminal(cmd *exec.Cmd, in io.Reader, out io.Writer, resize <-chan remotecommand.TerminalSize) error {
	terminal, tty, err := openTerminal()
	if err != nil {
		return err
	}
	defer func() { _ = terminal.Close() }()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	_ = tty.Close()
	if err != nil {
		return err
	}
	go func() {
		for size := range resize {
			_ = setSize(terminal, size.Height, size.Width)
		}
	}()
	if in != nil {
		go func() { _, _ = io.Copy(terminal, in) }()
	}
	_, _ = io.Copy(out, terminal) // ends when the last process closes the terminal
	return cmd.Wait()
}

// inside serves the streaming server. Two words are no commands, but for the
// container's program: "print" and "end".
type inside struct{ *containers }

// Exec runs a command in a container.
func (i inside) Exec(ctx context.Context, id string, args []string, in io.Reader, out, stderr io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	c, err := i.container(id)
	if err != nil {
		return err
	}
	switch args[0] {
	case "print":
		return c.print(args[1])
	case "end":
		_, err := i.StopContainer(ctx, &criv1.StopContainerRequest{ContainerId: id})
		return err
	}
	err = c.exec(ctx, args, in, out, stderr, tty, resize)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return utilexec.CodeExitError{Err: err, Code: exit.ExitCode()}
	}
	return err
}

// Attach attaches to the program of a container.
func (i inside) Attach(ctx context.Context, id string, in io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	c, err := i.container(id)
	if err != nil {
		return err
	}
	return c.attach(ctx, in, out)
}

// PortForward echoes, on every port.
func (inside) PortForward(_ context.Context, _ string, _ int32, stream io.ReadWriteCloser) error {
	_, err := io.Copy(stream, stream)
	return err
}
