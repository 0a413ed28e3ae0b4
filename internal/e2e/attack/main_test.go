// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/klog/v2"

	"github.com/kubembed/kubembed/internal/lifecycle/leaks"
)

var (
	duration = flag.Duration("for", 20*time.Second, "duration of the attacks")
	chosen   = flag.String("attacks", "", "names of attacks, separated by commas; empty is all")
	recovery = flag.Duration("recovery", time.Minute, "limit of the recovery after the attacks; the full run uses 5s")
	memory   = flag.Int("memory", 4096, "limit of the control plane's memory in MiB")
)

// programs are run by this binary when it is started with their name.
var programs = map[string]func(args []string) error{"attacked-plane": planeMain}

func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if program, ok := programs[name]; ok {
		if err := program(os.Args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Clients log much during the attacks. The test counts failures itself.
	klog.SetLogger(klog.Logger{})
	goleak.VerifyTestMain(m, leaks.Ignored()...)
}

// selected returns the names of the attacks to run.
func selected(t *testing.T) (names []string) {
	t.Helper()
	if *chosen == "" {
		for name := range attacks {
			names = append(names, name)
		}
		return names
	}
	names = strings.Split(*chosen, ",")
	for _, name := range names {
		if attacks[name] == nil {
			t.Fatalf("-attacks: there is no %q", name)
		}
	}
	return names
}
