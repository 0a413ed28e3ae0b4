// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package klogbridge_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/lifecycle/leaks"
)

// helperEnv makes the test binary act as a host process: the tested code ends processes,
// or has per-process state.
const helperEnv = "KUBEMBED_KLOGBRIDGE_TEST_HELPER"

var helpers = map[string]func() error{
	"fatal":        fatal,
	"host's fatal": hostsFatal,
	"part's fatal": partsFatal,

	"part's fatal in host's klog": partsFatalInHostsKlog,

	"hook":               hook,
	"hook's goroutine":   hookGoroutine,
	"host's files":       hostFiles,
	"host's logger":      hostLogger,
	"host's later files": hostLaterFiles,
	"host's threshold":   hostThreshold,
	"klog logger":        klogLogger,
	"last line":          lastLine,
	"default to stderr":  func() error { klog.Info("to stderr"); return nil },
}

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		helper, ok := helpers[name]
		if !ok {
			fmt.Println("no helper", name)
			os.Exit(2)
		}
		if err := helper(); err != nil {
			fmt.Println("helper failed:", err)
			os.Exit(1)
		}
		fmt.Println("alive")
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, leaks.Ignored()...)
}

// child runs a helper in a separate process.
func child(t *testing.T, name string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// wantAlive fails unless the helper ran to its end and printed nothing else.
func wantAlive(t *testing.T, name string) {
	t.Helper()
	code, stdout, stderr := child(t, name)
	if code != 0 || stdout != "alive\n" {
		t.Errorf("got exit code %d, stdout %q, stderr %.2000q", code, stdout, stderr)
	}
	if stderr != "" {
		t.Errorf("got stderr %.2000q, want none", stderr)
	}
}

var background = context.Background()
