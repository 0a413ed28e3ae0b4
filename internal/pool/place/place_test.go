// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package place

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestOf: a program has one directory, whatever links lead to it, and another build at
// its path has another one.
func TestOf(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(Variable, dir)
	program := filepath.Join(dir, "bin", "program")
	check(t, os.Mkdir(filepath.Dir(program), 0o700))
	check(t, os.WriteFile(program, []byte("first"), 0o700))
	first := of(t, program)
	file, below := filepath.Join(dir, "link"), filepath.Join(dir, "linked")
	check(t, os.Symlink(program, file))
	check(t, os.Symlink(filepath.Dir(program), below))
	for _, link := range []string{file, filepath.Join(below, "program")} {
		if got := of(t, link); got != first {
			t.Errorf("%s: got %s, want that of the program, %s", link, got, first)
		}
	}
	check(t, os.Chtimes(program, time.Time{}, time.Now().Add(time.Hour)))
	if of(t, program) == first {
		t.Error("another build has the same directory")
	}
	if _, err := Of(filepath.Join(dir, "missing")); err == nil {
		t.Error("a missing program has a directory")
	}
}

func of(t *testing.T, program string) string {
	t.Helper()
	dir, err := Of(program)
	check(t, err)
	t.Cleanup(func() { _ = os.Remove(dir) }) // a long TMPDIR is not used
	return dir
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
