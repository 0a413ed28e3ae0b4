// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// killEphemeral leaves the directories of ephemeral control planes in killed processes.
func killEphemeral(t *testing.T, n int) {
	t.Helper()
	var all []*process
	for range n {
		all = append(all, startProcess(t, "hold", ""))
	}
	for _, p := range all {
		p.readLine(t)
	}
	for _, p := range all {
		_ = p.Process.Kill()
		_ = p.Wait()
	}
}

// TestKilledProcessesLeaveNothing: the next start removes the directories of killed
// processes, but not of running ones.
func TestKilledProcessesLeaveNothing(t *testing.T) {
	temp := ownTemp(t)
	killEphemeral(t, 2)
	left := entries(t, temp)
	if len(left) != 2 {
		t.Fatalf("left by two killed processes: got %v, want two directories", left)
	}
	// Several processes start at once.
	first, second := startProcess(t, "hold", ""), startProcess(t, "hold", "")
	first.readLine(t)
	second.readLine(t)
	server := start(t, controlplane.Config{})
	closeServer(t, server) // which waits for the sweep
	now := entries(t, temp)
	if len(now) != 2 || slices.ContainsFunc(now, func(name string) bool { return slices.Contains(left, name) }) {
		t.Errorf("with two running processes: got %v, want two directories and none of %v", now, left)
	}
	for _, p := range []*process{first, second} {
		_ = p.stdin.Close()
		if err := p.Wait(); err != nil {
			t.Errorf("%v\n%s", err, &p.stderr)
		}
	}
	if left := entries(t, temp); len(left) > 0 {
		t.Errorf("left behind: got %v, want nothing", left)
	}
	killEphemeral(t, 1)
	closeServer(t, start(t, controlplane.Config{DataDir: t.TempDir()}))
	if left := entries(t, temp); len(left) > 0 {
		t.Errorf("left by a durable start: got %v, want nothing", left)
	}
}

// TestKeptDirectoryIsNotSwept: the directory of a killed process that a later start has
// as DataDir is kept.
func TestKeptDirectoryIsNotSwept(t *testing.T) {
	temp := ownTemp(t)
	killEphemeral(t, 1)
	dir := filepath.Join(temp, entries(t, temp)[0])
	// The directory has no keys; only its name matters here.
	for _, name := range []string{"etcd", "run"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	closeServer(t, start(t, controlplane.Config{DataDir: dir}))
	closeServer(t, start(t, controlplane.Config{}))
	if _, err := os.Stat(filepath.Join(dir, "etcd")); err != nil {
		t.Error(err)
	}
}
