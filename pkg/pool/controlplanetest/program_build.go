// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// build returns the executable of the tool, which go builds if it is not in its cache.
// The build goes on when the test ends first: it holds the lock, where the system can
// pass it on, and writes to files.
func (t *tool) build(ctx context.Context, dir string, held *fileLock) (string, error) {
	args, err := t.args(dir)
	if err != nil {
		return "", err
	}
	defer progress("go builds the program controlplanes, for minutes the first time, or finds it in its cache")()
	for range 2 {
		stdout, stderr, err := t.run(ctx, args, dir, held)
		if err != nil {
			return "", err
		}
		if stdout == "" {
			return "", t.explain("no executable", stderr)
		}
		if _, err := os.Stat(stdout); err == nil {
			return stdout, nil
		}
		// Go 1.24 says where it has built the tool for the first time, not where it is in
		// the cache.
	}
	return "", t.explain("go names an executable that is not there, twice", "")
}

func (t *tool) run(ctx context.Context, args []string, dir string, held *fileLock) (stdout, stderr string, err error) {
	outputs := make([]*os.File, 2)
	for i, name := range []string{"build.out", "build.log"} {
		if outputs[i], err = os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600); err != nil {
			return "", "", err
		}
		defer func() { _ = outputs[i].Close() }() // go writes it
	}
	cmd := exec.Command(t.command, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = t.root, append(t.env, "PWD="+t.root), outputs[0], outputs[1]
	held.passTo(cmd)
	if err := cmd.Start(); err != nil {
		return "", "", fmt.Errorf("go tool -n %s: %w", toolName, err)
	}
	defer func() { _ = cmd.Process.Release() }() // it has ended, or goes on
	failure, err := waitFor(ctx, cmd.Process)
	if err != nil {
		held.leave()
		return "", "", fmt.Errorf("the build of the program controlplanes goes on (process %d): %w", cmd.Process.Pid, err)
	}
	texts := make([]string, 2)
	for i := range texts {
		data, err := os.ReadFile(outputs[i].Name())
		if err != nil {
			return "", "", err
		}
		texts[i] = strings.TrimSpace(string(data))
	}
	if failure != "" {
		return "", "", t.explain(failure, texts[1])
	}
	return texts[0], texts[1], nil
}

// waitFor waits for the end of a process. The failure is empty if it ended well. No
// goroutine is left behind when ctx ends first.
func waitFor(ctx context.Context, process *os.Process) (failure string, err error) {
	c, err := watchChild(process)
	if err != nil {
		return "", err
	}
	defer c.close()
	for {
		ended, _, failure, err := c.ended()
		if ended || err != nil {
			return failure, err
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
