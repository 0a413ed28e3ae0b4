// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package program

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kubembed/kubembed/internal/dirlock"
)

// TestSweep: only the directories of programs that ended long ago are removed.
func TestSweep(t *testing.T) {
	parent := t.TempDir()
	long := time.Now().Add(-2 * unusedFor)
	for _, name := range []string{"own", "ended", "serves", "used", "never-served"} {
		dir := filepath.Join(parent, name)
		check(t, os.Mkdir(dir, 0o700))
		if name != "never-served" {
			lock, err := dirlock.Take(dir)
			check(t, err)
			if name == "serves" {
				defer lock.Unlock()
			} else {
				lock.Unlock()
			}
		}
		if name != "used" {
			check(t, os.Chtimes(dir, long, long))
		}
	}
	check(t, os.WriteFile(filepath.Join(parent, "file"), nil, 0o600))
	check(t, os.Chtimes(filepath.Join(parent, "file"), long, long))
	sweep(filepath.Join(parent, "own"))
	var left []string
	entries, err := os.ReadDir(parent)
	check(t, err)
	for _, entry := range entries {
		left = append(left, entry.Name())
	}
	if want := []string{"file", "own", "serves", "used"}; !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
