// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubembed/kubembed/internal/lifecycle/leaks"
)

// programs are run by this binary when it is started with their name. The name is
// argv[0], so ps shows it and no environment variable is needed.
var programs = map[string]func(args []string) error{
	"kubectl":   kubectlMain,
	"kubelet":   kubeletMain,
	"kubembed":  kubembedMain,
	loginPlugin: loginMain,
}

func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if program, ok := programs[name]; ok {
		if err := program(os.Args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, leaks.Ignored()...)
}

// untilSignal returns the context of a long-running program. It also ends the program
// when the test that started it dies: stdin closes then.
func untilSignal() (context.Context, context.CancelFunc) {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	return signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
}
