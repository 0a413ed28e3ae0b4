// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var (
	someSuites = flag.Bool("suites", false, "run a part of the suites of other projects, for some minutes")
	allSuites  = flag.Bool("all", false, "run all of them, for half an hour or more")
	assetsDir  = flag.String("assets", "", "an absolute path: run them on the programs in this directory")
)

// built is the directory of the built programs, or the error of the build.
var built struct {
	dir string
	err error
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kubembed-assets-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	built.dir = dir
	built.err = install(dir)
	return m.Run()
}

// install builds the programs with the command of their documentation, except the
// version.
func install(dir string) error {
	root, err := repository()
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "install", "-buildvcs=false", "./pkg/controlplanetest/assets/...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

// assets returns the directory of the programs.
func assets(t testing.TB) string {
	t.Helper()
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

// repository returns the root of the library's checkout.
func repository() (string, error) {
	out, err := exec.Command("go", "env", "GOWORK").Output()
	if err != nil {
		return "", err
	}
	work := strings.TrimSpace(string(out))
	if filepath.Base(work) != "go.work" {
		return "", fmt.Errorf("not in the workspace of the repository: GOWORK=%q", work)
	}
	return filepath.Dir(work), nil
}
