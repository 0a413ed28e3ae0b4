// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// openFiles returns the open files and sockets of this process, such as listeners and
// locks, if the system lists them.
func openFiles(t *testing.T) (files []string) {
	t.Helper()
	const self = "/proc/self/fd"
	entries, err := os.ReadDir(self)
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		target, err := os.Readlink(self + "/" + entry.Name())
		// Go opens its poller with the first file that needs it.
		if err == nil && !strings.HasPrefix(target, "anon_inode:") && !strings.HasPrefix(target, "/proc/") {
			files = append(files, target)
		}
	}
	slices.Sort(files)
	return files
}

// wantOpenFiles checks that no further file is open.
func wantOpenFiles(t *testing.T, before []string) {
	t.Helper()
	for _, file := range openFiles(t) {
		if !slices.Contains(before, file) {
			t.Errorf("left open: got %s, want nothing", file)
		}
	}
}
