// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// inChild has subtests of TestInChild.
func inChild(t *testing.T) {
	t.Run("closes", func(t *testing.T) {
		if err := controlplanetest.CloseServer(controlplanetest.Shared(t)); err != nil {
			t.Error(err)
		}
	})
	t.Run("next", func(t *testing.T) { list(t, controlplanetest.Shared(t)) })
}

// child returns a command that runs some subtests of TestInChild. Its temporary
// directories are in tmp.
func child(t *testing.T, name, tests string) (cmd *exec.Cmd, tmp string) {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tmp = t.TempDir()
	cmd = exec.CommandContext(t.Context(), executable, "-test.v", "-test.parallel=4", "-test.run=^TestInChild$/^("+tests+")$")
	cmd.Args[0] = name
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "TMP="+tmp, "TEMP="+tmp)
	return cmd, tmp
}

func leftovers(t *testing.T, directory string) []string {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// A control plane that one test has stopped does not fail the next test.
func TestSharedThatHasStopped(t *testing.T) {
	t.Parallel()
	cmd, tmp := child(t, "child", "closes|next")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestInChild/next") {
		t.Errorf("%v\n%s", err, out)
	}
	if names := leftovers(t, tmp); len(names) > 0 {
		t.Errorf("the process left %v in its temporary directory", names)
	}
}
