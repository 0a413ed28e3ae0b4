// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	packages     = 10
	packagesName = "go test ./..., from the change to the result"
	packagesCPU  = "the same, CPU time"
)

var packagesSection = section{
	name: "packages", title: fmt.Sprintf("A module of %d packages", packages),
	about: "Each package has the test of the edit loop, and all import a package in which a line is changed. Then go test ./... runs with everything else in the build cache. " +
		"The module is outside of this repository's workspace, and requires what its tests import. CPU time includes kube-apiserver, etcd, and the program that gives control planes from the pool. " +
		"That program is built before; it does not run at the change, and is stopped after go test. Its path is in an environment variable. A tool of the module is looked up once a day, which takes 2 seconds.",
	sides:   []string{pooled, own, envtest, programs},
	ratios:  [][2]string{{pooled, envtest}, {own, envtest}, {programs, envtest}},
	measure: measurePackages,
}

func measurePackages(m *measurement) error {
	if err := os.Setenv("GOWORK", "off"); err != nil {
		return err
	}
	return m.withPrograms(func(stop func() (time.Duration, error)) error {
		dir, err := m.packages()
		if err != nil {
			return err
		}
		if err := changeShared(dir); err != nil {
			return err
		}
		elapsed, cpu, err := m.goRun(dir, "test", "./...")
		if err != nil {
			return err
		}
		more, err := stop()
		m.add(packagesName, "s", elapsed.Seconds())
		m.add(packagesCPU, "s", (cpu + more).Seconds())
		return err
	})
}

// packages returns the directory of the module for the side. Its dependencies are in the
// build cache.
func (m *measurement) packages() (string, error) {
	dir := filepath.Join(m.paths.Work, "packages-"+edited[m.side])
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	// An interrupted start is not taken for a complete module.
	making, remove, err := m.directory("packages-")
	if err != nil {
		return "", err
	}
	defer remove()
	if err := m.writePackages(making); err != nil {
		return "", err
	}
	// The go command completes go.mod, and then the build cache.
	complete := func() error {
		_, _, err := m.goRun(making, "list", "-mod=mod", "-deps", "-test", "./...")
		return err
	}
	if err := complete(); err != nil {
		return "", err
	}
	if err := m.pin(making); err != nil {
		return "", err
	}
	if err := complete(); err != nil {
		return "", err
	}
	if _, _, err := m.goRun(making, "test", "-run=^$", "./..."); err != nil {
		return "", err
	}
	return dir, os.Rename(making, dir)
}

// modules are the modules of this repository that the tests of a side import, and their
// directories.
var modules = map[string][][2]string{
	own:    {library},
	pooled: {client},
}

var (
	library = [2]string{"github.com/kubembed/kubembed", "."}
	client  = [2]string{"github.com/kubembed/kubembed/pkg/pool", "pkg/pool"}
)

func (m *measurement) writePackages(dir string) error {
	root := filepath.Join(m.paths.Module, "..", "..")
	var goMod strings.Builder
	fmt.Fprint(&goMod, "module example.com/packages\n\ngo 1.26.0\n\n")
	required := []string{"k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go"}
	for _, module := range modules[m.side] {
		fmt.Fprintf(&goMod, "require %s v0.0.0\n\nreplace %[1]s => %s\n\n", module[0], filepath.Join(root, module[1]))
	}
	if modules[m.side] == nil {
		required = append(required, "sigs.k8s.io/controller-runtime")
	}
	for _, module := range required {
		list := exec.Command("go", "list", "-m", "-f", "{{.Version}}", module)
		list.Dir = m.paths.Module
		list.Env = append(os.Environ(), "GOWORK=off")
		version, err := output(list)
		if err != nil {
			return err
		}
		fmt.Fprintf(&goMod, "require %s %s\n", module, version)
	}
	var sums []byte
	for _, file := range []string{filepath.Join(m.paths.Module, "go.sum"), filepath.Join(root, "go.sum"), filepath.Join(root, "go.work.sum")} {
		more, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		sums = append(sums, more...)
	}
	test, err := os.ReadFile(filepath.Join(m.paths.Module, "edit", edited[m.side], "edit_test.go"))
	if err != nil {
		return err
	}
	source := strings.NewReplacer("import (\n", "import (\n\t\"example.com/packages/shared\"\n", editedLine, "var name = shared.Name()").Replace(string(test))
	errs := []error{
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte(goMod.String()), 0o600),
		os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o600),
		os.Mkdir(filepath.Join(dir, "shared"), 0o700),
		changeShared(dir),
	}
	for i := range packages {
		name := filepath.Join(dir, fmt.Sprint("package", i))
		errs = append(errs, os.Mkdir(name, 0o700), os.WriteFile(filepath.Join(name, "edit_test.go"), []byte(source), 0o600))
	}
	return errors.Join(errs...)
}

// pin gives go.mod the versions of this repository's workspace, so that all sides have
// the same ones, and the build cache has their packages.
func (m *measurement) pin(dir string) error {
	list := exec.Command("go", "list", "-m", "-f", "{{.Path}}@{{.Version}}", "all")
	list.Dir, list.Env = m.paths.Module, append(os.Environ(), "GOWORK=")
	workspace, err := output(list)
	if err != nil {
		return err
	}
	show := exec.Command("go", "mod", "edit", "-json")
	show.Dir = dir
	shown, err := output(show)
	if err != nil {
		return err
	}
	var goMod struct{ Require []struct{ Path string } }
	if err := json.Unmarshal([]byte(shown), &goMod); err != nil {
		return err
	}
	args := []string{"mod", "edit"}
	for module := range strings.Lines(workspace) {
		path, version, _ := strings.Cut(strings.TrimSpace(module), "@")
		if version != "" && slices.ContainsFunc(goMod.Require, func(r struct{ Path string }) bool { return r.Path == path }) {
			args = append(args, "-require="+path+"@"+version)
		}
	}
	_, _, err = m.goRun(dir, args...)
	return err
}

// changeShared changes the package that all others import.
func changeShared(dir string) error {
	source := fmt.Sprintf("package shared\n\nfunc Name() string { return \"edited-%d\" }\n", time.Now().UnixNano())
	return os.WriteFile(filepath.Join(dir, "shared", "shared.go"), []byte(source), 0o600)
}
