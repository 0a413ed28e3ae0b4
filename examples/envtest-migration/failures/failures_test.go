// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package failures

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// process returns the command for a process that runs a suite, and its directory for
// dumps.
func process(t *testing.T, suite string) (cmd *exec.Cmd, dump string) {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dump = filepath.Join(t.TempDir(), "dump")
	cmd = exec.CommandContext(t.Context(), executable, "-test.run=^TestSuite$")
	cmd.Env = append(os.Environ(), "FAILURES_SUITE="+suite, "FAILURES_DUMP="+dump)
	return cmd, dump
}

// dumped returns the directories in dump, and the directories among them that have the
// ConfigMap of the failed spec.
func dumped(t *testing.T, dump string) (all, complete []string) {
	t.Helper()
	entries, err := os.ReadDir(dump)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, entry := range entries {
		all = append(all, entry.Name())
		data, err := os.ReadFile(filepath.Join(dump, entry.Name(), "namespaces", "default", "configmaps.yaml"))
		if err == nil && strings.Contains(string(data), "of-the-failure") {
			complete = append(complete, entry.Name())
		}
	}
	return all, complete
}

// TestDumpOfFailedSpecs: every owner of a control plane dumps it and shows its log when a
// test that uses it fails. Passing suites dump nothing.
func TestDumpOfFailedSpecs(t *testing.T) {
	if suiteName != "" {
		t.Skip("this process runs a suite")
	}
	for suite, test := range map[string]struct {
		dumps []string // by name
		says  []string
	}{
		"before-suite":         {[]string{"the_suite"}, []string{"failed: A spec fails"}},
		"ginkgo-tb":            {[]string{"the_suite"}, []string{"failed: A spec fails"}},
		"wrapped":              {[]string{"the_suite"}, []string{"failed: A spec fails"}},
		"before-suite-fails":   {[]string{"the_suite"}, nil},
		"panics":               {[]string{"the_suite"}, []string{"failed: panics"}},
		"after-each-fails":     {[]string{"the_suite"}, []string{"failed: passes"}},
		"before-all":           {[]string{"A_spec_passes"}, []string{"failed: A spec fails"}},
		"before-all-continues": {[]string{"A_spec_passes"}, []string{"failed: A spec fails"}},
		"before-each":          {[]string{"A_spec_fails"}, nil},
		"on-failure":           {[]string{"A_spec_fails"}, nil},
		"namespace":            {[]string{"A_spec_fails"}, nil},
		"shared":               {[]string{"the_suite"}, []string{"failed: A spec fails"}},
		"parent":               {[]string{"TestSuite_parent", "TestSuite_parent_child"}, nil},
		"main":                 {[]string{"TestMain"}, nil},
		"before-all-passes":    {},
		"passing":              {},
	} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			cmd, dump := process(t, suite)
			out, err := cmd.CombinedOutput()
			if passes := suite == "passing"; (err == nil) != passes {
				t.Errorf("the suite ended with %v, want success = %t", err, passes)
			}
			all, complete := dumped(t, dump)
			if !slices.Equal(all, test.dumps) {
				t.Errorf("got dumps %q, want %q", all, test.dumps)
			}
			if suite != "main" && !slices.Equal(complete, test.dumps) {
				t.Errorf("the state of the failure is in %q, want %q", complete, test.dumps)
			}
			for _, name := range all {
				test.says = append(test.says, "state of the control plane dumped to "+filepath.Join(dump, name), "log of the control plane", "a line of the log")
			}
			for _, want := range test.says {
				if !strings.Contains(flat(out), want) {
					t.Errorf("no %q in the output", want)
				}
			}
			if len(test.dumps) == 0 && strings.Contains(string(out), "controlplanetest") {
				t.Error("the output mentions the control plane, although nothing was dumped")
			}
			if t.Failed() {
				t.Logf("%s", out)
			}
		})
	}
}

// flat returns the output without the line breaks and indentation of Ginkgo.
func flat(out []byte) string { return strings.Join(strings.Fields(string(out)), " ") }

// TestKeepOfFailedSpec: the control plane of BeforeSuite is kept until the file is
// removed.
func TestKeepOfFailedSpec(t *testing.T) {
	if suiteName != "" {
		t.Skip("this process runs a suite")
	}
	t.Parallel()
	cmd, _ := process(t, "keep")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var path string
	lines := bufio.NewScanner(stderr)
	for path == "" && lines.Scan() {
		if rest, found := strings.CutPrefix(strings.TrimSpace(lines.Text()), "kubectl --kubeconfig="); found {
			path, _, _ = strings.Cut(rest, " ")
		}
	}
	if path == "" {
		t.Fatal("the output has no kubeconfig of a kept control plane")
	}
	if err := os.Remove(path); err != nil {
		t.Error(err)
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the suite passed")
	}
}
