// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package tempdir_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/tempdir"
)

// children are the programs that this binary runs when it is started under another name.
var children = map[string]func() error{
	// holder makes a directory and keeps it until it is killed.
	"holder": func() error {
		d, err := tempdir.Make("kind")
		if err != nil {
			return err
		}
		if err := fill(d.Path); err != nil {
			return err
		}
		fmt.Println(d.Path)
		_, err = io.Copy(io.Discard, os.Stdin)
		return err
	},
	// worker makes, sweeps and removes as fast as possible.
	"worker": func() error {
		for range 150 {
			d, err := tempdir.Make("")
			if err != nil {
				return fmt.Errorf("make: %w", err)
			}
			if err := fill(d.Path); err != nil {
				return fmt.Errorf("a directory in use: %w", err)
			}
			if _, err := tempdir.Sweep(context.Background()); err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
			if _, err := os.ReadFile(filepath.Join(d.Path, "sub", "file")); err != nil {
				return fmt.Errorf("a directory in use: %w", err)
			}
			if err := d.Remove(); err != nil {
				return fmt.Errorf("remove: %w", err)
			}
		}
		return nil
	},
}

func TestMain(m *testing.M) {
	if child, ok := children[filepath.Base(os.Args[0])]; ok {
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func fill(dir string) error {
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "sub", "file"), []byte("content"), 0o600)
}

// ownTemp returns the directory of temporary files of this test and its children.
func ownTemp(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
		t.Setenv(name, dir)
	}
	return dir
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	return names
}

func sweep(t *testing.T) []string {
	t.Helper()
	removed, err := tempdir.Sweep(t.Context())
	if err != nil {
		t.Error(err)
	}
	return removed
}

// hold starts a process with a directory. kill kills it.
func hold(t *testing.T) (path string, kill func()) {
	t.Helper()
	cmd := command(t, "holder")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), kill
}

func command(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Args[0], cmd.Stderr = name, os.Stderr
	return cmd
}

func TestRemove(t *testing.T) {
	temp := ownTemp(t)
	d, err := tempdir.Make("kind")
	if err != nil {
		t.Fatal(err)
	}
	if err := fill(d.Path); err != nil {
		t.Fatal(err)
	}
	if removed := sweep(t); len(removed) > 0 {
		t.Errorf("swept a directory in use: %v", removed)
	}
	for range 2 {
		if err := d.Remove(); err != nil {
			t.Error(err)
		}
	}
	if left := entries(t, temp); len(left) > 0 {
		t.Errorf("got remaining files %v", left)
	}
}

// TestSweepAfterKill: the next process removes the directory of a killed process, and no
// directory of a running one.
func TestSweepAfterKill(t *testing.T) {
	temp := ownTemp(t)
	killed, kill := hold(t)
	running, killLater := hold(t)
	kill()
	if removed := sweep(t); !slices.Equal(removed, []string{killed}) {
		t.Errorf("got swept %v, want %s", removed, killed)
	}
	if _, err := os.Stat(filepath.Join(running, "sub", "file")); err != nil {
		t.Errorf("directory of a running process: %v", err)
	}
	killLater()
	sweep(t)
	if left := entries(t, temp); len(left) > 0 {
		t.Errorf("got remaining files %v", left)
	}
}

// TestSweepKeepsOtherDirectories: a directory stays unless it certainly belongs to a
// killed process.
func TestSweepKeepsOtherDirectories(t *testing.T) {
	temp := ownTemp(t)
	for name, change := range map[string]func(path string) error{
		"renamed":      func(path string) error { return os.Rename(path, path+"0") },
		"copied":       func(path string) error { return os.CopyFS(path+"0", os.DirFS(path)) },
		"without mark": func(path string) error { return os.Remove(filepath.Join(path, "temporary")) },
		"without lock": func(path string) error { return os.Remove(filepath.Join(path, "lock")) },
		"kept":         tempdir.Forget,
		"mark is a link": func(path string) error {
			mark := filepath.Join(path, "temporary")
			if err := os.Rename(mark, mark+"0"); err != nil {
				return err
			}
			return os.Symlink("temporary0", mark)
		},
		"lock is a link": func(path string) error {
			lock := filepath.Join(path, "lock")
			if err := os.Rename(lock, lock+"0"); err != nil {
				return err
			}
			return os.Symlink("lock0", lock)
		},
		"is a link": func(path string) error {
			elsewhere := filepath.Join(t.TempDir(), filepath.Base(path))
			if err := os.Rename(path, elsewhere); err != nil {
				return err
			}
			return os.Symlink(elsewhere, path)
		},
		"open to others": func(path string) error { return os.Chmod(path, 0o755) },
		"another user's": func(path string) error { return os.Chown(path, 12345, -1) },
		"a file": func(path string) error {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			return os.WriteFile(path, nil, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && (strings.Contains(name, "link") || strings.Contains(name, "others") || strings.Contains(name, "user")) {
				t.Skip("needs Unix")
			}
			if name == "another user's" && os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			path, kill := hold(t)
			kill()
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			removed, err := tempdir.Sweep(t.Context())
			if name == "copied" { // the original is removed
				removed = slices.DeleteFunc(removed, func(p string) bool { return p == path })
				path += "0"
			}
			if len(removed) > 0 {
				t.Errorf("got removed %v", removed)
			}
			if err != nil && name != "lock is a link" {
				t.Error(err)
			}
			if name == "renamed" {
				path += "0"
			}
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
			if name != "a file" {
				if _, err := os.Stat(filepath.Join(path, "sub", "file")); err != nil {
					t.Error(err)
				}
			}
			if err := os.RemoveAll(path); err != nil {
				t.Error(err)
			}
		})
	}
	if left := entries(t, temp); len(left) > 0 {
		t.Errorf("got remaining files %v", left)
	}
}

// TestParallel starts, sweeps and ends several processes at once: none loses a directory
// that it uses, and none fails.
func TestParallel(t *testing.T) {
	temp := ownTemp(t)
	var workers []*exec.Cmd
	for range 4 {
		cmd := command(t, "worker")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		workers = append(workers, cmd)
	}
	for range 5 {
		_, kill := hold(t)
		kill()
	}
	for _, cmd := range workers {
		if err := cmd.Wait(); err != nil {
			t.Errorf("worker: %v", err)
		}
	}
	sweep(t)
	if left := entries(t, temp); len(left) > 0 {
		t.Errorf("got remaining files %v", left)
	}
}
