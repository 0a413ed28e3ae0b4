// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

func TestWriteAtomic(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kubeconfig")
	for _, data := range []string{"first", "second"} {
		if err := WriteAtomic(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if names := names(t, dir); err != nil || string(got) != data || !slices.Equal(names, []string{"kubeconfig"}) {
			t.Errorf("got %q, %v, in %q; want %q in one file", got, err, names, data)
		}
	}
	if info, err := os.Stat(path); err != nil || (runtime.GOOS != "windows" && info.Mode().Perm() != 0o600) {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}

	// A name without a directory is in the working directory, not in TMPDIR.
	t.Chdir(dir)
	if err := WriteAtomic("here", []byte("data"), 0o644); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat("here"); err != nil || (runtime.GOOS != "windows" && info.Mode().Perm() != 0o644) {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}

	// A failure keeps the existing file, and leaves no temporary file.
	if err := os.Mkdir("directory", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteAtomic("directory", []byte("data"), 0o600); err == nil {
		t.Error("replaced a directory")
	}
	if err := WriteAtomic(filepath.Join("missing", "file"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if got, want := names(t, dir), []string{"directory", "here", "kubeconfig"}; !slices.Equal(got, want) {
		t.Errorf("got the files %q, want %q", got, want)
	}
}

// TestRemoveUnfinished: the temporary files of a killed process go, all others stay.
func TestRemoveUnfinished(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"ca.key", "ca.key" + unfinished + "123"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	RemoveUnfinished(dir)
	RemoveUnfinished(filepath.Join(dir, "missing"))
	if got, want := names(t, dir), []string{"ca.key"}; !slices.Equal(got, want) {
		t.Errorf("got the files %q, want %q", got, want)
	}
}

// names returns the names in a directory, sorted.
func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
