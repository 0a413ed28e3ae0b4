// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asMaster makes the test binary run as a master, so that tests see its exit code.
const asMaster = "KUBEMBED_TEST_IS_MASTER"

func TestMain(m *testing.M) {
	if os.Getenv(asMaster) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// process is a master in its own directory, which is also TMPDIR.
func process(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), program, args...)
	c.Dir = t.TempDir()
	c.Env = append(os.Environ(), asMaster+"=1", "TMPDIR="+c.Dir)
	return c
}

func code(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit == nil {
		return 0
	}
	return exit.ExitCode()
}

func TestExitCodes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]int{
		"--help": 0, "-h": 0, "--version": 0,
		"--nope": 2, "start": 2, "--join-lifetime=x": 2, "--bind-address=nowhere": 2, "--config=/nowhere": 2,
		"--kubeconfig-dir=" + file: 2, "--bind-address=192.0.2.1": 1,
	} {
		var stdout, stderr strings.Builder
		c := process(t, args)
		c.Stdout, c.Stderr = &stdout, &stderr
		if got := code(t, c.Run()); got != want {
			t.Errorf("%s: exit code %d, want %d: %s", args, got, want, stderr.String())
		}
		if want == 0 == (stdout.Len() == 0) || want == 0 != (stderr.Len() == 0) {
			t.Errorf("%s: stdout %q, stderr %q", args, stdout.String(), stderr.String())
		}
		if want != 0 && strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%s: the error is not one line: %s", args, stderr.String())
		}
	}
}

// TestEndsOfAShell closes a pipe, as in "master | head", and a terminal: the master
// stops as by Ctrl-C, and leaves no data behind.
func TestEndsOfAShell(t *testing.T) {
	t.Run("closed pipe", func(t *testing.T) {
		c := process(t, "--bind-address=127.0.0.1:0")
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		c.Stdout = w
		err = c.Run()
		w.Close()
		if got := code(t, err); got != 1 {
			t.Errorf("exit code %d, want 1", got)
		}
		leavesNothing(t, c.Dir)
	})
	t.Run("closed terminal", func(t *testing.T) {
		if signal.Ignored(syscall.SIGHUP) {
			t.Skip("started by nohup, the master goes on")
		}
		c := process(t, "--bind-address=127.0.0.1:0")
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(out); lines.Scan() && !strings.HasPrefix(lines.Text(), "Press Ctrl-C"); {
		}
		if err := c.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, out)
		if got := code(t, c.Wait()); got != 0 {
			t.Errorf("exit code %d, want 0", got)
		}
		leavesNothing(t, c.Dir)
	})
}

func leavesNothing(t *testing.T, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "kubembed-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
