// Command bench compares control planes of this library with those of envtest, in
// the same run, and prints a table:
//
//	go run ./internal/bench # at the top of the repository; -h tells the flags
//
// Both sides take turns, and a row has the median of all runs with the fastest
// and the slowest. Nothing else should run on the machine.
//
//   - tests: a package of 20 tests, from the start of its test binary to its end.
//     Each installs a CRD, creates ten custom resources, and runs a manager of
//     controller-runtime until its controller has reconciled them. Ours have a
//     control plane each (folder own), envtest's share one (folder envtest), with
//     the CRDs installed by the tests or, in a row of its own, before them.
//   - crds: 100 CRDs of known projects, installed from files until all are served.
//     Memory is what the processes of the test have resident: the test binary and
//     what it started, five seconds after the start and five seconds after the
//     CRDs are served.
//
// kube-apiserver and etcd are built from the modules that this library is made
// from, at the same versions, and kept in a folder of the user's cache. Reading memory needs Linux.
//
// # Modules
//
// This module is apart from the library for the sake of controller-runtime. Its
// go.mod is updated as that of internal/e2e. The one in the folder peers has
// kube-apiserver and etcd as tools, and none of our packages. It is not in the
// workspace: the etcd program needs old modules that no other build should see. Its
// versions of Kubernetes and etcd follow those of the library; otherwise go mod
// tidy works in it with GOWORK=off.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	var b bench
	var only string
	flag.IntVar(&b.runs, "runs", 5, "how often each side runs")
	flag.StringVar(&only, "only", "", "tests or crds, or both if empty")
	flag.StringVar(&b.cache, "cache", "", "folder of the built kube-apiserver and etcd (default is one in the user's cache)")
	flag.Parse()
	if err := b.run(only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	runs   int
	cache  string
	module string // folder of this module
	work   string // temporary folder
	assets string // folder of kube-apiserver and etcd
}

func (b *bench) run(only string) error {
	if b.runs < 1 || only != "" && only != "tests" && only != "crds" {
		return fmt.Errorf("-runs must be positive, and -only tests or crds")
	}
	module, err := output(exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/kubembed/kubembed/internal/bench"))
	if err != nil {
		return err
	}
	b.module = module
	if b.work, err = os.MkdirTemp("", "kubembed-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.work) }()
	if err := b.buildPeers(); err != nil {
		return err
	}
	for _, side := range []string{"own", "envtest"} {
		fmt.Fprintln(os.Stderr, "building the tests of", side)
		if err := runLoudly(b.goCommand(".", "test", "-c", "-o", filepath.Join(b.work, side+".test"), "./"+side)); err != nil {
			return err
		}
	}
	var rows []row
	if only != "crds" {
		more, err := b.tests()
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	if only != "tests" {
		more, err := b.crds()
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	printTable(os.Stdout, rows)
	return nil
}

// goCommand is the go command in a folder of this module.
func (b *bench) goCommand(folder string, args ...string) *exec.Cmd {
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join(b.module, folder)
	return cmd
}

// runLoudly shows what the command says.
func runLoudly(cmd *exec.Cmd) error {
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", cmd, err)
	}
	return nil
}

// output returns what the command prints.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return "", fmt.Errorf("%s: %w: %s", cmd, err, exit.Stderr)
		}
		return "", fmt.Errorf("%s: %w", cmd, err)
	}
	return strings.TrimSpace(string(out)), nil
}
