// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	editName     = "go test, from the change to the result"
	beyondClient = "test binary, beyond that of a test with client-go alone"
	// stripped leaves out the data for debuggers, as go test does. go test -c does not.
	stripped = "-ldflags=-s -w"
)

var editSection = section{
	name: "edit", title: "The edit loop",
	about: "A test starts a control plane and creates a pod (directory edit). One of its lines is changed, and go test runs with everything else in the build cache. The line is changed in a copy, by go's -overlay. " +
		"The build alone is measured for another change, with go test -c and without data for debuggers, as go test links. With kubembed's programs, which are installed before, test and build are envtest's. The test with client-go alone reads a kubeconfig file instead of starting a control plane. " +
		"The program that gives control planes from the pool is built before, but does not run at the first change; CPU time includes its. Its path is in an environment variable.",
	sides:   []string{own, envtest, programs, pooled},
	ratios:  [][2]string{{own, envtest}, {programs, envtest}, {pooled, envtest}},
	summary: []string{editName},
	measure: editLoop,
}

// edited are the directories of the tests in the directory edit.
var edited = map[string]string{own: "own", envtest: "envtest", programs: "envtest", pooled: "pooled"}

func editLoop(m *measurement) error { return m.withPrograms(m.edit) }

func (m *measurement) edit(stop func() (time.Duration, error)) error {
	dir, remove, err := m.directory("edit-")
	if err != nil {
		return err
	}
	defer remove()
	pkg := "./edit/" + edited[m.side]
	overlay := func() (string, error) { return m.overlay(dir, filepath.Join(m.paths.Module, pkg, "edit_test.go")) }
	test := func() (elapsed, cpu time.Duration, err error) {
		changed, err := overlay()
		if err != nil {
			return 0, 0, err
		}
		return m.goRun(m.paths.Module, "test", "-overlay="+changed, pkg)
	}
	// The first run fills the cache, the second is measured.
	if _, _, err := test(); err != nil {
		return err
	}
	if _, err := stop(); err != nil {
		return err
	}
	elapsed, cpu, err := test()
	if err != nil {
		return err
	}
	more, err := stop()
	if err != nil {
		return err
	}
	m.add(editName, "s", elapsed.Seconds())
	m.add("the same, CPU time", "s", (cpu + more).Seconds())
	switch m.side {
	case programs:
		return nil
	case pooled:
		if _, _, err := test(); err != nil { // starts the program
			return err
		}
		if elapsed, _, err = test(); err != nil {
			return err
		}
		m.add("the same while the program still runs", "s", elapsed.Seconds())
	}
	changed, err := overlay()
	if err != nil {
		return err
	}
	binary := filepath.Join(dir, "test")
	compile := []string{"test", "-overlay=" + changed, "-c", stripped, "-o", binary}
	elapsed, cpu, err = m.goRun(m.paths.Module, append(compile, pkg)...)
	if err != nil {
		return err
	}
	m.add("the build alone", "s", elapsed.Seconds())
	m.add("the build alone, CPU time", "s", cpu.Seconds())
	info, err := os.Stat(binary)
	if err != nil {
		return err
	}
	m.addBytes("test binary", info.Size())
	if m.side == pooled {
		if _, _, err := m.goRun(m.paths.Module, append(compile, "./edit/client")...); err != nil {
			return err
		}
		alone, err := os.Stat(binary)
		if err != nil {
			return err
		}
		m.add(beyondClient, "MB", float64(info.Size()-alone.Size())/1e6)
	}
	list := exec.CommandContext(m.ctx, "go", "list", "-deps", "-test", pkg)
	list.Dir = m.paths.Module
	packages, err := output(list)
	if err != nil {
		return err
	}
	m.add("packages in it", "", float64(strings.Count(packages, "\n")+1))
	return nil
}

// editedLine is in each test of the directory edit.
const editedLine = `const name = "edited" // The bench changes this line.`

// overlay writes a file for go's -overlay, with a changed copy of the file.
func (m *measurement) overlay(dir, file string) (string, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	after := fmt.Sprintf("const name = \"edited-%d\"", time.Now().UnixNano())
	changed := bytes.Replace(source, []byte(editedLine), []byte(after), 1)
	if bytes.Equal(changed, source) {
		return "", fmt.Errorf("%s has no line with %s", file, editedLine)
	}
	replacement, overlay := filepath.Join(dir, "edit_test.go"), filepath.Join(dir, "overlay.json")
	told, err := json.Marshal(map[string]map[string]string{"Replace": {file: replacement}})
	if err != nil {
		return "", err
	}
	return overlay, errors.Join(os.WriteFile(replacement, changed, 0o600), os.WriteFile(overlay, told, 0o600))
}

// goRun runs the go command in a directory.
func (m *measurement) goRun(dir string, args ...string) (elapsed, cpu time.Duration, err error) {
	cmd := exec.Command("go", args...) // It ends by itself. Killing it would leave its children running.
	cmd.Dir = dir
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return time.Since(began), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

var coldSection = section{
	name: "cold", title: "Cold build",
	about: "The build of the edit loop's test with an empty build cache and all modules downloaded. The CPU time includes all compilers. envtest's build excludes kube-apiserver and etcd, which its users download.",
	sides: []string{own, envtest}, ratios: [][2]string{{own, envtest}}, byHand: true,
	measure: func(m *measurement) error {
		dir, remove, err := m.directory("cold-")
		if err != nil {
			return err
		}
		defer remove()
		pkg := "./edit/" + edited[m.side]
		if err := os.Setenv("GOCACHE", filepath.Join(dir, "cache")); err != nil {
			return err
		}
		elapsed, cpu, err := m.goRun(m.paths.Module, "test", "-c", "-o", filepath.Join(dir, "test"), pkg)
		if err != nil {
			return err
		}
		m.add("wall time", "s", elapsed.Seconds())
		m.add("CPU time", "s", cpu.Seconds())
		return nil
	},
}
