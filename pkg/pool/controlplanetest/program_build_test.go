// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package controlplanetest

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slowGo puts a go command before the real one. It logs begin and end of go tool. The
// first one goes on when the test calls release, and later ones do not wait.
func (s *suite) slowGo() (log string, release func()) {
	s.Helper()
	real, err := exec.LookPath("go")
	s.must(err)
	dir := s.TempDir()
	log = filepath.Join(dir, "log")
	gate := filepath.Join(dir, "gate")
	s.must(syscall.Mkfifo(gate, 0o600))
	script := "#!/bin/sh\nif [ \"$1\" != tool ]; then exec '" + real + "' \"$@\"; fi\necho begin >> '" + log + "'\nif [ -p '" + gate + "' ]; then read line < '" + gate + "'; fi\n'" + real + "' \"$@\"\ncode=$?\necho end >> '" + log + "'\nexit $code\n"
	s.must(os.WriteFile(filepath.Join(dir, "go"), []byte(script), 0o700)) //nolint:gosec // it is a program
	s.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return log, func() {
		s.Helper()
		pipe, err := os.OpenFile(gate, os.O_WRONLY, 0) // waits for the reader
		s.must(err)
		s.must(os.Remove(gate))
		_, err = pipe.WriteString("\n")
		s.must(err)
		s.must(pipe.Close())
	}
}

// finder is a test process that finds the tool. Its lines are its output.
type finder struct {
	*exec.Cmd
	lines *bufio.Scanner
}

const (
	finderVariable = "KUBEMBED_TEST_FINDER"
	earlyVariable  = "KUBEMBED_TEST_EARLY" // the finder fails long before its timeout
)

func (s *suite) finder(args ...string) *finder {
	s.Helper()
	f := s.newFinder(args...)
	s.start(f)
	return f
}

func (s *suite) newFinder(args ...string) *finder {
	f := &finder{Cmd: exec.CommandContext(s.Context(), os.Args[0], append(args, "-test.run=^TestFinder$", "-test.v")...)}
	f.Env = append(os.Environ(), finderVariable+"=1", "KUBEMBED_TEST_CHILD=1")
	return f
}

func (s *suite) start(f *finder) {
	s.Helper()
	out, err := f.StdoutPipe()
	s.must(err)
	f.Stderr = f.Stdout
	f.lines = bufio.NewScanner(out)
	s.must(f.Start())
}

// until reads lines until one has a text.
func (f *finder) until(t *testing.T, text string) {
	t.Helper()
	var read []string
	for f.lines.Scan() {
		if read = append(read, f.lines.Text()); strings.Contains(f.lines.Text(), text) {
			return
		}
	}
	t.Fatalf("got %q, want %q", read, text)
}

// TestFinder is the test process of the others.
func TestFinder(t *testing.T) {
	if os.Getenv(finderVariable) == "" {
		t.Skip("a part of the tests below")
	}
	if early := os.Getenv(earlyVariable); early != "" {
		reserve = func(timeout time.Duration) time.Duration { return timeout - 2*time.Second }
	}
	p, err := Config{}.program(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Log("found", p.path)
}

// TestBuildOutlivesItsTest: the next test waits for the build of a test that was killed.
func TestBuildOutlivesItsTest(t *testing.T) {
	s := newSuite(t)
	log, release := s.slowGo()
	first := s.finder()
	first.until(t, "controlplanetest: go builds the program controlplanes, for minutes the first time, or finds it in its cache (")
	s.must(first.Process.Kill())
	_ = first.Wait() // it was killed
	second := s.finder()
	second.until(t, "waiting for another test that builds the program controlplanes")
	release()
	second.until(t, "found ")
	s.must(second.Wait())
	data, err := os.ReadFile(log)
	s.must(err)
	if got := string(data); got != "begin\nend\nbegin\nend\n" {
		t.Errorf("go ran as %q, want one after another", got)
	}
}

// TestBuildOnce: of two tests at the same time, one asks go.
func TestBuildOnce(t *testing.T) {
	s := newSuite(t)
	log, release := s.slowGo()
	first := s.finder()
	first.until(t, "go builds the program")
	second := s.finder()
	second.until(t, "waiting for another test")
	release()
	for _, f := range []*finder{first, second} {
		f.until(t, "found ")
		s.must(f.Wait())
	}
	data, err := os.ReadFile(log)
	s.must(err)
	if got := string(data); got != "begin\nend\n" {
		t.Errorf("go ran as %q, want once", got)
	}
}

// TestBuildBeforeTheTimeout: the test fails with an error before go test ends it.
func TestBuildBeforeTheTimeout(t *testing.T) {
	s := newSuite(t)
	_, release := s.slowGo()
	s.Setenv(earlyVariable, "true")
	first := s.finder("-test.timeout=1m")
	first.until(t, "the build of the program controlplanes goes on (process ")
	second := s.finder("-test.timeout=1m")
	second.until(t, "build.lock): the test is about to reach its -timeout of 1m0s: run it again in a while, or with a longer -timeout")
	for _, f := range []*finder{first, second} {
		if err := f.Wait(); err == nil || f.ProcessState.ExitCode() != 1 {
			t.Errorf("got %v, want a failed test, not the timeout", err)
		}
	}
	release()
	s.Setenv(earlyVariable, "")
	third := s.finder()
	third.until(t, "found ")
	s.must(third.Wait())
}
