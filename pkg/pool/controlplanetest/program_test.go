// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

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

// TestProgramIsKilled: the test that has a control plane of it fails and says why, and
// the next one gets a new program.
func TestProgramIsKilled(t *testing.T) {
	r := &recorder{T: t}
	cp := controlplanetest.New(r, controlplanetest.Config{})
	check(t, syscall.Kill(process(t), syscall.SIGKILL))
	select {
	case <-cp.Done():
	case <-t.Context().Done():
		t.Fatal("the control plane is not done")
	}
	r.end()
	if all := strings.Join(r.errors, "\n"); !strings.Contains(all, "the program controlplanes has ended (killed, or out of memory?): its log is ") {
		t.Errorf("got %q, want the end of the program", all)
	}
	next := controlplanetest.New(t, controlplanetest.Config{})
	must(kubernetes.NewForConfigOrDie(next.ClientConfig()).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}))(t)
}

// TestKilledTests: nothing is left of test processes that are killed with a control
// plane.
func TestKilledTests(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		cp := controlplanetest.New(t, controlplanetest.Config{})
		fmt.Println("leased", cp.URL())
		<-context.Background().Done() // until it is killed
	}
	kills := 10
	for range kills {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKilledTests$")
		cmd.Env = append(os.Environ(), childVariable+"=1")
		stdout, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		var line bytes.Buffer
		for one := make([]byte, 1); !bytes.HasSuffix(line.Bytes(), []byte("\n")); {
			if _, err := stdout.Read(one); err != nil {
				t.Fatalf("%v: %s", err, line.String())
			}
			line.Write(one)
		}
		check(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
		cancel()
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		now := status(t)
		if !strings.Contains(now, "leased") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("control planes are still leased:\n%s", now)
		}
	}
}

const childVariable = "KUBEMBED_TEST_CHILD"

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
