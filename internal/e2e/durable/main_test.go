// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubembed/kubembed/internal/lifecycle/leaks"
)

var (
	cycles = flag.Int("cycles", 50, "how often TestKill kills")
	plugs  = flag.Int("plugs", 10, "how often TestPlugPulled pulls the plug")
	seed   = flag.Int64("seed", 0, "seed of the random choices; 0 takes one from the clock")
)

// programs are run by this binary when it is started with their name.
var programs = map[string]func(args []string) error{"durable-plane": planeMain}

func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if program, ok := programs[name]; ok {
		if err := program(os.Args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := separateMounts(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, leaks.Ignored()...)
}
