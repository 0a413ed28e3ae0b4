// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package dirlock_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kubembed/kubembed/internal/dirlock"
	"github.com/kubembed/kubembed/internal/ownership"
)

func take(t *testing.T, dir string) *dirlock.Lock {
	t.Helper()
	lock, err := dirlock.Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lock.Unlock)
	return lock
}

func TestTake(t *testing.T) {
	dir := t.TempDir()
	lock := take(t, dir)
	if !lock.New {
		t.Error("New is false in a directory that had no lock file")
	}
	for name, again := range map[string]func(string) (*dirlock.Lock, error){"Take": dirlock.Take, "TakeExisting": dirlock.TakeExisting} {
		if _, err := again(dir); !errors.Is(err, dirlock.ErrLocked) {
			t.Errorf("%s of a locked directory: got %v, want %v", name, err, dirlock.ErrLocked)
		}
	}
	if got, want := dirlock.Owner(dir, "a member"), "a member of this process"; got != want {
		t.Errorf("Owner() = %q, want %q", got, want)
	}
	lock.Unlock()
	lock.Unlock()

	lock = take(t, dir)
	if lock.New {
		t.Error("New is true in a directory that had a lock file")
	}
	lock.Remove() // the file existed before
	lock, err := dirlock.TakeExisting(dir)
	if err != nil {
		t.Fatal(err)
	}
	lock.Unlock()
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	lock := take(t, dir)
	lock.Remove()
	lock.Remove()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	lock = take(t, dir)
	lock.Unlock()
	lock.Remove() // the file belongs to the next owner
	if _, err := os.Stat(filepath.Join(dir, dirlock.Name)); err != nil {
		t.Errorf("Remove after Unlock: %v", err)
	}
}

func TestTakeRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := dirlock.TakeExisting(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("TakeExisting without a lock file: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("it left %v, %v", entries, err)
	}
	if _, err := dirlock.Take(filepath.Join(dir, "none")); err == nil {
		t.Error("a missing directory is locked")
	}

	target := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, dirlock.Name)
	for name, make := range map[string]func() error{
		"a link":            func() error { return os.Symlink(target, file) },
		"a link to nothing": func() error { return os.Symlink(target+"-missing", file) },
		"a directory":       func() error { return os.Mkdir(file, 0o700) },
	} {
		if err := make(); err != nil {
			t.Skip(err) // links need a privilege on some systems
		}
		if _, err := dirlock.Take(dir); !errors.Is(err, ownership.ErrUntrusted) {
			t.Errorf("%s: got %v, want %v", name, err, ownership.ErrUntrusted)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := os.ReadFile(target); string(data) != "precious" {
		t.Errorf("the target of the link is %q, %v", data, err)
	}
	if _, err := os.Lstat(target + "-missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target of the link was created: %v", err)
	}
}

// TestRemoveWhileOthersTake: a directory never has two owners, also while lock files are
// removed between the open and the lock of others.
func TestRemoveWhileOthersTake(t *testing.T) {
	dir := t.TempDir()
	var owners, taken atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				lock, err := dirlock.Take(dir)
				if errors.Is(err, dirlock.ErrLocked) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := owners.Add(1); n != 1 {
					t.Errorf("%d owners", n)
				}
				taken.Add(1)
				for range 20 {
					runtime.Gosched()
				}
				owners.Add(-1)
				lock.Remove()
			}
		})
	}
	all.Wait()
	if taken.Load() == 0 {
		t.Error("nobody got the lock")
	}
}

func TestOwner(t *testing.T) {
	for content, want := range map[string]string{
		"":                              "another member",
		" \n":                           "another member",
		"123\n":                         "process 123",
		fmt.Sprintln(os.Getpid()):       "another member of this process",
		fmt.Sprint(os.Getpid(), "0 \n"): fmt.Sprint("process ", os.Getpid(), "0"),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, dirlock.Name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := dirlock.Owner(dir, "another member"); got != want {
			t.Errorf("Owner of a file with %q = %q, want %q", content, got, want)
		}
	}
	if got := dirlock.Owner(t.TempDir(), "another member"); got != "another member" {
		t.Errorf("Owner without a file = %q", got)
	}
}
