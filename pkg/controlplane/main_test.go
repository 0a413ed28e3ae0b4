// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	kubeleaks "github.com/kubembed/kubembed/internal/lifecycle/leaks"
)

// programs are the programs that this binary runs under other names, for tests that need
// another process.
var programs = map[string]func(args []string) error{
	"hold":    holdMain,
	"old":     oldPlaneMain,
	"quiet":   quietMain,
	"restore": restoreMain,
	"share":   shareMain,
}

func TestMain(m *testing.M) {
	if program, ok := programs[filepath.Base(os.Args[0])]; ok {
		if err := program(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if code == 0 {
		if err := leaks(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// leaks finds goroutines of stopped control planes.
func leaks(ignore ...goleak.Option) error {
	return goleak.Find(append(ignore, kubeleaks.Ignored()...)...)
}
