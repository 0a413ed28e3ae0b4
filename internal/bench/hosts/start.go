// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubembed/kubembed/internal/bench/process"
)

// Host is a running host.
type Host struct {
	Ready
	// Exec is the time from before the program was started until Ready was read.
	Exec time.Duration

	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *json.Decoder
	stderr bytes.Buffer
	temp   string
}

// Start starts a host whose temporary directories are in temp. It stops when ctx ends.
// Call Close.
func Start(ctx context.Context, temp, program string, args ...string) (_ *Host, err error) {
	h := &Host{cmd: exec.Command(program, args...)}
	if h.temp, err = os.MkdirTemp(temp, "host-"); err != nil {
		return nil, err
	}
	h.cmd.Env = append(os.Environ(), "TMPDIR="+h.temp)
	h.cmd.Stderr = &h.stderr
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	h.out = json.NewDecoder(out)
	began := time.Now()
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = h.in.Close() })
	defer func() {
		if err != nil {
			stop()
			_ = h.cmd.Wait() // It ends by itself, and stops its children.
			err = errors.Join(err, h.Close())
		}
	}()
	if err := h.out.Decode(&h.Ready); err != nil {
		return nil, h.broken(err)
	}
	h.Exec = time.Since(began)
	if h.Error != "" {
		return nil, fmt.Errorf("%s: %s", program, h.Error)
	}
	return h, nil
}

// Config returns the administrator's configuration, over TLS.
func (h *Host) Config() (*rest.Config, error) {
	return clientcmd.RESTConfigFromKubeConfig([]byte(h.Kubeconfig))
}

// Do sends a command and waits for the answer.
func (h *Host) Do(c Command) (a Answer, err error) {
	if err := json.NewEncoder(h.in).Encode(c); err != nil {
		return a, h.broken(err)
	}
	if err := h.out.Decode(&a); err != nil {
		return a, h.broken(err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s: %s", c.Do, a.Error)
	}
	return a, nil
}

func (h *Host) broken(err error) error {
	return fmt.Errorf("%s does not answer: %w\n%s", h.cmd.Path, err, tail(h.stderr.Bytes()))
}

func tail(text []byte) []byte { return text[max(0, len(text)-4000):] }

// Processes returns the host and its children. servers are the processes of the control
// plane: without the host if it only starts others.
func (h *Host) Processes() (all, servers []int, err error) {
	all, err = process.Tree(h.cmd.Process.Pid)
	servers = all
	if len(all) > 1 {
		servers = all[1:]
	}
	return all, servers, err
}

// Close kills the host and its children, and removes their temporary directories. A
// measured stop is a command instead.
func (h *Host) Close() error {
	// The ids of the children cannot be reused until the host has ended.
	if children, err := h.children(); err == nil {
		for _, pid := range children {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	// The host collects their exit codes.
	_ = wait.PollUntilContextTimeout(context.Background(), 10*time.Millisecond, time.Second, true, func(context.Context) (bool, error) {
		children, err := h.children()
		return err != nil || len(children) == 0, nil //nolint:nilerr // without /proc nothing can be waited for
	})
	_ = h.cmd.Process.Kill() // It may have ended.
	_ = h.cmd.Wait()
	return os.RemoveAll(h.temp)
}

// children returns the processes that the host has started.
func (h *Host) children() ([]int, error) {
	all, _, err := h.Processes()
	if err != nil {
		return nil, err
	}
	return all[1:], nil
}
