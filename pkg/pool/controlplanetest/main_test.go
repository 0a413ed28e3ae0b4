// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/pool/controlplanetest"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run builds the program of the checkout unless the environment names one. CI names one
// if Go is older than the version that the program needs.
func run(m *testing.M) int {
	const variable = "KUBEMBED_CONTROLPLANES"
	if os.Getenv(variable) == "" && os.Getenv(childVariable) == "" {
		remove, err := build(variable)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer remove()
	}
	return controlplanetest.Main(m, controlplanetest.Config{})
}

func build(variable string) (remove func(), err error) {
	dir, err := os.MkdirTemp("", "pool-*")
	if err != nil {
		return nil, err
	}
	clean := func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	program := filepath.Join(dir, "controlplanes")
	cmd := exec.Command("go", "build", "-o", program, "./pkg/controlplanetest/controlplanes")
	cmd.Dir, cmd.Stderr = filepath.Join("..", "..", ".."), os.Stderr
	// Not the settings with which this module is tested.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "GOWORK=") || strings.HasPrefix(v, "GOFLAGS=") || strings.HasPrefix(v, "GOCOVERDIR=")
	})
	if err := cmd.Run(); err != nil {
		clean()
		return nil, fmt.Errorf("go build: %w", err)
	}
	for name, value := range map[string]string{variable: program, "TMPDIR": dir} { // of the program, too
		if err := os.Setenv(name, value); err != nil {
			clean()
			return nil, err
		}
	}
	return func() {
		if out, err := exec.Command(program, "stop").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "stop: %v: %s\n", err, out)
		}
		clean()
	}, nil
}
