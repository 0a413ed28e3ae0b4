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

const editName = "go test, from the change to the result"

var editSection = section{
	name: "edit", title: "The edit loop",
	about: "A test starts a control plane and creates a pod (directory edit). One of its lines is changed, and go test runs with everything else in the build cache. The line is changed in a copy, by go's -overlay. " +
		"The build alone is measured for another change, with go test -c. With kubembed's programs, which are installed before, test and build are envtest's.",
	sides:   []string{own, envtest, programs},
	ratios:  [][2]string{{own, envtest}, {programs, envtest}},
	measure: editLoop,
}

func editLoop(m *measurement) error {
	dir, remove, err := m.directory("edit-")
	if err != nil {
		return err
	}
	defer remove()
	pkg := "./edit/" + map[string]string{own: "own", envtest: "envtest", programs: "envtest"}[m.side]
	if m.side == programs {
		if err := os.Setenv("KUBEBUILDER_ASSETS", m.paths.program(ownPrograms)); err != nil {
			return err
		}
	}
	overlay := func() (string, error) { return m.overlay(dir, filepath.Join(m.paths.Module, pkg, "edit_test.go")) }
	// The first run fills the cache, the second is measured.
	for _, measured := range []bool{false, true} {
		changed, err := overlay()
		if err != nil {
			return err
		}
		elapsed, cpu, err := m.goRun("test", "-overlay="+changed, pkg)
		if err != nil {
			return err
		}
		if measured {
			m.add(editName, "s", elapsed.Seconds())
			m.add("the same, CPU time", "s", cpu.Seconds())
		}
	}
	if m.side == programs {
		return nil
	}
	changed, err := overlay()
	if err != nil {
		return err
	}
	binary := filepath.Join(dir, "test")
	// go test links without data for debuggers, go test -c does not.
	elapsed, cpu, err := m.goRun("test", "-overlay="+changed, "-c", "-ldflags=-s -w", "-o", binary, pkg)
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
	list := exec.CommandContext(m.ctx, "go", "list", "-deps", "-test", pkg)
	list.Dir = m.paths.Module
	packages, err := output(list)
	if err != nil {
		return err
	}
	m.add("packages in it", "", float64(strings.Count(packages, "\n")+1))
	return nil
}

// overlay writes a file for go's -overlay, with a changed copy of the file.
func (m *measurement) overlay(dir, file string) (string, error) {
	const before = `const name = "edited`
	source, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	after := fmt.Sprint(before, "-", time.Now().UnixNano())
	changed := bytes.Replace(source, []byte(before), []byte(after), 1)
	if bytes.Equal(changed, source) {
		return "", fmt.Errorf("%s has no line with %s", file, before)
	}
	replacement, overlay := filepath.Join(dir, "edit_test.go"), filepath.Join(dir, "overlay.json")
	told, err := json.Marshal(map[string]map[string]string{"Replace": {file: replacement}})
	if err != nil {
		return "", err
	}
	return overlay, errors.Join(os.WriteFile(replacement, changed, 0o600), os.WriteFile(overlay, told, 0o600))
}

// goRun runs the go command in this module.
func (m *measurement) goRun(args ...string) (elapsed, cpu time.Duration, err error) {
	cmd := exec.Command("go", args...) // It ends by itself. Killing it would leave its children running.
	cmd.Dir = m.paths.Module
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
		pkg := "./edit/" + map[string]string{own: "own", envtest: "envtest"}[m.side]
		if err := os.Setenv("GOCACHE", filepath.Join(dir, "cache")); err != nil {
			return err
		}
		elapsed, cpu, err := m.goRun("test", "-c", "-o", filepath.Join(dir, "test"), pkg)
		if err != nil {
			return err
		}
		m.add("wall time", "s", elapsed.Seconds())
		m.add("CPU time", "s", cpu.Seconds())
		return nil
	},
}
