// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package controlplanetest has the tests of pkg/controlplanetest, with the import of this
// module's fixture. Files without the line "Code generated" have the helpers that depend
// on the place of the control plane.
package controlplanetest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
	"github.com/kubembed/kubembed/pkg/pool/internal/testprogram"
)

// children are run by this binary when it is started with their name: test binaries
// whose tests fail on purpose, see child_test.go.
var children = map[string]func(m *testing.M) int{
	"child":              func(m *testing.M) int { return controlplanetest.Main(m, controlplanetest.Config{}) },
	"child-without-main": func(m *testing.M) int { return m.Run() },
	"child-bad-config": func(m *testing.M) int {
		var cfg controlplanetest.Config
		cfg.ControlPlane.ServiceCIDR = "nonsense"
		return controlplanetest.Main(m, cfg)
	},
	"child-envtest": func(m *testing.M) int {
		return controlplanetest.Main(m, controlplanetest.Config{BehaveLikeEnvtest: true})
	},
	"child-keep": func(m *testing.M) int {
		return controlplanetest.Main(m, controlplanetest.Config{KeepOnFailure: true})
	},
}

func TestMain(m *testing.M) {
	if main, ok := children[filepath.Base(os.Args[0])]; ok {
		os.Exit(main(m))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	end, err := testprogram.Use("../../../..")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer end()
	return controlplanetest.Main(m, controlplanetest.Config{Audit: true})
}

// inChild has no further subtests of TestInChild: ../../controlplanetest kills the
// program.
func inChild(*testing.T) {}

// child returns a command that runs some subtests of TestInChild. Its temporary
// directories are in tmp, and so is the program that it uses, which ends with the test.
func child(t *testing.T, name, tests string) (cmd *exec.Cmd, tmp string) {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// t.TempDir has the name of the test: too long for a socket.
	if tmp, err = os.MkdirTemp("", ""); err != nil {
		t.Fatal(err)
	}
	environment := append(os.Environ(), "TMPDIR="+tmp, "TMP="+tmp, "TEMP="+tmp)
	cmd = exec.CommandContext(t.Context(), executable, "-test.v", "-test.parallel=4", "-test.run=^TestInChild$/^("+tests+")$")
	cmd.Args[0] = name
	cmd.Env = environment
	t.Cleanup(func() {
		stop := exec.Command(os.Getenv("KUBEMBED_CONTROLPLANES"), "stop")
		stop.Env = environment
		if out, err := stop.CombinedOutput(); err != nil {
			t.Errorf("controlplanes stop: %v\n%s", err, out)
		}
		if err := os.RemoveAll(tmp); err != nil {
			t.Error(err)
		}
	})
	return cmd, tmp
}

// leftovers returns the files in a temporary directory that are not the program's.
func leftovers(t *testing.T, directory string) []string {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), "kubembed-") {
			names = append(names, entry.Name())
		}
	}
	return names
}
