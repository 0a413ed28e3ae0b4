// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package testprogram gives the tests of this module the program controlplanes of the
// checkout.
package testprogram

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

const variable = "KUBEMBED_CONTROLPLANES"

// Use sets the environment variable of the program to that of the checkout at root,
// unless it names one. CI names one if Go is older than the version that the program
// needs. TMPDIR becomes a new directory, so that no other test binary shares or ends its
// process. The returned function stops the program and removes the directory.
func Use(root string) (end func(), err error) {
	program := os.Getenv(variable)
	if program == "" {
		if program, err = build(root); err != nil {
			return nil, err
		}
	}
	// A short path: it is that of a socket, too.
	dir, err := os.MkdirTemp("", "pool-*")
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{variable: program, "TMPDIR": dir} {
		if err := os.Setenv(name, value); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	return func() {
		if out, err := exec.Command(program, "stop").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "stop: %v: %s\n", err, out)
		}
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}, nil
}

// build returns the executable in Go's build cache, where all test binaries find it.
func build(root string) (string, error) {
	var path string
	// The first command may link it, and prints a path that lasts as long as the command.
	for range 2 {
		cmd := exec.Command("go", "run", "-buildvcs=false", "-exec=echo", "./pkg/controlplanetest/controlplanes")
		cmd.Dir, cmd.Stderr = root, os.Stderr
		// Not the settings with which this module is tested.
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
			name, _, _ := strings.Cut(v, "=")
			return slices.Contains([]string{"GOWORK", "GOFLAGS", "GOCOVERDIR"}, name)
		})
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("go run in %s: %w", root, err)
		}
		path = strings.TrimSpace(string(out))
	}
	return path, nil
}
