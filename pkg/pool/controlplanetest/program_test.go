// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// recorder is a test whose failures are expected.
type recorder struct {
	*testing.T
	cleanups []func()
	errors   []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) Cleanup(f func())    { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Failed() bool        { return len(r.errors) > 0 }
func (r *recorder) Logf(string, ...any) {}

func (r *recorder) end() {
	for _, cleanup := range slices.Backward(r.cleanups) {
		cleanup()
	}
}

// status returns what the program says of its control planes.
func status(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), os.Getenv("KUBEMBED_CONTROLPLANES"), "status").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// process returns the process ID of the program.
func process(t *testing.T) int {
	t.Helper()
	found := regexp.MustCompile(`process (\d+), version`).FindStringSubmatch(status(t))
	if found == nil {
		t.Fatal("no program runs")
	}
	pid, err := strconv.Atoi(found[1])
	check(t, err)
	return pid
}

// kill kills the program.
func kill(t *testing.T) {
	t.Helper()
	running, err := os.FindProcess(process(t))
	check(t, err)
	check(t, running.Kill())
}

// fataler ends New with a panic.
type fataler struct{ recorder }

func (f *fataler) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	panic("fatal")
}
