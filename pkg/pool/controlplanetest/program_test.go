// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
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
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
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

// TestErrorsOfTheProgram: the error names the fault of the program.
func TestErrorsOfTheProgram(t *testing.T) {
	for _, c := range []struct{ program, want string }{
		{"/nowhere/controlplanes", "Config.Program: \"/nowhere/controlplanes\" is no program"},
		{"/bin/false", "has ended at its start"},
	} {
		r := &fataler{recorder: recorder{T: t}}
		func() {
			defer func() { _ = recover() }()
			controlplanetest.New(r, controlplanetest.Config{Program: c.program})
		}()
		if all := strings.Join(r.errors, "\n"); !strings.Contains(all, c.want) {
			t.Errorf("%s: got %q, want %q", c.program, all, c.want)
		}
	}
}

// fataler ends New with a panic.
type fataler struct{ recorder }

func (f *fataler) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	panic("fatal")
}
