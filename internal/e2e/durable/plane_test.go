// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// planeMain runs a control plane until stdin ends. When the control plane is ready it
// prints its address, and if it stops by itself the reason.
func planeMain(args []string) error {
	flags := flag.NewFlagSet("durable-plane", flag.ContinueOnError)
	cfg := controlplane.Config{}
	flags.StringVar(&cfg.DataDir, "data-dir", "", "where the state is")
	flags.StringVar(&cfg.BindAddress, "bind-address", "", "host:port")
	kubeconfig := flags.String("kubeconfig", "", "file to write")
	noFsync := flags.Bool("no-fsync", false, "fsync does nothing")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *noFsync {
		if err := disableFsync(); err != nil {
			return err
		}
	}
	server, err := controlplane.Start(context.Background(), cfg)
	if err != nil {
		return err
	}
	config, err := server.Kubeconfig("admin", "system:masters")
	if err != nil {
		return err
	}
	if err := os.WriteFile(*kubeconfig, config, 0o600); err != nil {
		return err
	}
	fmt.Println(server.URL())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	select {
	case <-ended:
	case <-server.Done():
		// The host keeps running.
		fmt.Fprintln(os.Stderr, "the control plane has stopped:", server.Err())
		<-ended
	}
	return server.Close()
}

// process is a control plane in a process of its own.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer
	url    chan string // closed if the process ends before it is ready
	done   chan struct{}
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{
		cmd: &exec.Cmd{Path: self, Args: append([]string{"durable-plane"}, args...), WaitDelay: 10 * time.Second},
		url: make(chan string, 1), done: make(chan struct{}),
	}
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// When this process dies, stdin of the other one ends, and with it the process.
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		defer close(p.url)
		line, err := bufio.NewReader(stdout).ReadString('\n')
		if err == nil {
			p.url <- strings.TrimSpace(line)
		}
		_, _ = io.Copy(io.Discard, stdout)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() { _ = p.kill() })
	return p
}

// ready waits until the control plane serves.
func (p *process) ready() (url string, err error) {
	select {
	case url, ok := <-p.url:
		if !ok {
			<-p.done
			return "", fmt.Errorf("not started: %s", p.stderr.String())
		}
		return url, nil
	case <-time.After(2 * time.Minute):
		return "", errors.New("not ready within two minutes")
	}
}

// kill ends the process with SIGKILL and waits. It returns an error if the process had
// ended before.
func (p *process) kill() error {
	select {
	case <-p.done:
		return fmt.Errorf("the process had ended by itself: %v: %s", p.cmd.ProcessState, p.stderr.String())
	default:
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	_ = p.stdin.Close()
	return nil
}
