// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/files"
)

func TestMemoryWritesNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	p := mustOpen(t, Config{})
	mustIssue(t, p, "jane")
	if files := readAll(t, "."); len(files) != 0 {
		t.Errorf("files %q", files)
	}
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such modes on Windows")
	}
	dir := filepath.Join(t.TempDir(), "pki")
	mode := func(name string) fs.FileMode {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	mustOpen(t, Config{Dir: dir})
	if got := mode("."); got != 0o700 {
		t.Errorf("directory has mode %o", got)
	}
	for _, name := range allFiles {
		if got := mode(name); got != 0o600 {
			t.Errorf("%s has mode %o", name, got)
		}
	}

	for _, name := range []string{"ca.key", "sa.key", "apiserver.key", "front-proxy-ca.key", "ca.crt", "."} {
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mustOpen(t, Config{Dir: dir})
	for _, name := range []string{"ca.key", "sa.key", "apiserver.key", "front-proxy-ca.key"} {
		if got := mode(name); got != 0o600 {
			t.Errorf("%s still has mode %o", name, got)
		}
	}
	// Public files and an existing directory keep their mode.
	for _, name := range []string{"ca.crt", "."} {
		if got := mode(name); got != 0o755 {
			t.Errorf("%s now has mode %o", name, got)
		}
	}
}

// If a first start crashes or fails at any of its writes, the next one succeeds.
func TestInterruptedFirstStart(t *testing.T) {
	for n := range allFiles {
		t.Run(allFiles[n], func(t *testing.T) {
			// A crash: the files written so far stay.
			dir := t.TempDir()
			complete := filepath.Join(t.TempDir(), "complete")
			mustOpen(t, Config{Dir: complete})
			for _, name := range allFiles[:n] {
				write(t, dir, name, []byte(readAll(t, complete)[name]))
			}
			write(t, dir, allFiles[n]+".unfinished-123", []byte("half a ke"))
			mustOpen(t, Config{Dir: dir})
			if got := len(readAll(t, dir)); got != len(allFiles) {
				t.Errorf("got %d files after the repair: %q", got, readAll(t, dir))
			}

			// An error: no file and no directory stays.
			dir = filepath.Join(t.TempDir(), "pki")
			writes := 0
			_, err := open(Config{Dir: dir}.withDefaults(), &store{dir: dir, write: func(path string, data []byte, perm fs.FileMode) error {
				if writes++; writes > n {
					return errDiskFull
				}
				return files.WriteAtomic(path, data, perm)
			}})
			if !errors.Is(err, errDiskFull) || !strings.Contains(err.Error(), "Dir") {
				t.Fatalf("error %v", err)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left behind: %q", readAll(t, dir))
			}
		})
	}
}

// A failed write of a renewal changes nothing. The next Open repeats it.
func TestFailedRepairIsRepeated(t *testing.T) {
	dir := t.TempDir()
	old := mustOpen(t, Config{Dir: dir})
	remove(t, dir, "apiserver.key")
	_, err := open(Config{Dir: dir}.withDefaults(), &store{dir: dir, write: func(string, []byte, fs.FileMode) error { return errDiskFull }})
	if !errors.Is(err, errDiskFull) {
		t.Fatalf("error %v", err)
	}
	if got := len(readAll(t, dir)); got != len(allFiles)-1 {
		t.Errorf("%d files", got)
	}
	if p := mustOpen(t, Config{Dir: dir}); !bytes.Equal(p.CABundle(), old.CABundle()) || same(p.Serving(), old.Serving()) {
		t.Error("the next Open did not repair it")
	}
}

func TestUnusableDir(t *testing.T) {
	base := t.TempDir()
	write(t, base, "file", []byte("mine"))
	for _, dir := range []string{filepath.Join(base, "file"), filepath.Join(base, "file", "pki")} {
		if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "Dir") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error %v", dir, err)
		}
	}
	if got := readAll(t, base); len(got) != 1 || got["file"] != "mine" {
		t.Errorf("left behind: %q", got)
	}
}

func TestUnwritableDir(t *testing.T) {
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		t.Skip("modes do not stop root, nor anybody on Windows")
	}
	base := t.TempDir()
	if err := os.Chmod(base, 0o500); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{base, filepath.Join(base, "pki")} {
		if _, err := Open(Config{Dir: dir}); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error %v", dir, err)
		}
	}
	if got := readAll(t, base); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
}
