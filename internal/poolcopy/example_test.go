// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestExampleWithTheOtherImport runs the tests of examples/controller-test with the
// pooled fixture: the import path is all that differs. The test command of README.md runs
// them as they are.
func TestExampleWithTheOtherImport(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program and the tests of the example")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: its path is long for a socket.
	temp, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(temp); err != nil {
			t.Error(err)
		}
	})
	program := os.Getenv("KUBEMBED_CONTROLPLANES")
	if program == "" {
		// In Go's build cache, where the tests of the pool's module find it, too. The
		// first command may link it, and prints a path that lasts as long as the command.
		for range 2 {
			cmd := exec.Command("go", "run", "-buildvcs=false", "-exec=echo", "./pkg/controlplanetest/controlplanes")
			cmd.Dir, cmd.Stderr = root, os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %v", cmd, err)
			}
			program = strings.TrimSpace(string(out))
		}
	}
	env := []string{"KUBEMBED_CONTROLPLANES=" + program, "TMPDIR=" + temp}
	t.Cleanup(func() { command(t, root, env, program, "stop") })

	const example = "./examples/controller-test"
	overlay := "-overlay=" + otherImport(t, filepath.Join(root, example), temp)
	packages := command(t, root, nil, "go", "list", overlay, "-deps", "-test", example)
	for name := range strings.FieldsSeq(packages) {
		if strings.HasPrefix(name, "k8s.io/kubernetes/") || strings.HasPrefix(name, "go.etcd.io/etcd/server/") {
			t.Fatalf("the tests of the example link %s", name)
		}
	}
	command(t, root, env, "go", "test", overlay, "-count=1", example)
	if status := command(t, root, env, program, "status"); !strings.HasPrefix(status, "process ") {
		t.Errorf("the tests have not used the program: %s", status)
	}
}

// otherImport writes the tests of a directory with the import of the pooled fixture to
// temp, and returns the file for go's flag -overlay that puts them in place.
func otherImport(t *testing.T, dir, temp string) string {
	t.Helper()
	tests, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{}
	for _, path := range tests {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := bytes.ReplaceAll(data, []byte(`"`+module+copies[0].from+`"`), []byte(`"`+module+copies[0].to+`"`))
		if bytes.Equal(data, changed) {
			continue
		}
		replace[path] = filepath.Join(temp, filepath.Base(path))
		if err := os.WriteFile(replace[path], changed, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if len(replace) < 2 {
		t.Fatalf("the tests %q do not import the fixture", tests)
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(temp, "overlay.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// command runs a command that must succeed and returns its output.
func command(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
