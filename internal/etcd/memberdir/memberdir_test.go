// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package memberdir_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/etcd/memberdir"
)

func open(t *testing.T, dir string) *memberdir.Directory {
	t.Helper()
	f, err := memberdir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Unlock)
	return f
}

// write makes a file and its directories.
func write(t *testing.T, content string, path ...string) {
	t.Helper()
	file := filepath.Join(path...)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// tree returns the paths of all files and directories below dir.
func tree(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if path != dir {
			paths = append(paths, filepath.ToSlash(strings.TrimPrefix(path, dir+string(filepath.Separator))))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestUndo: a failed start removes its own files and directories and no others.
func TestUndo(t *testing.T) {
	for name, c := range map[string]struct {
		before, start string // files, separated by spaces
		fresh         bool
		left          []string
	}{
		"new directories": {"", "a/b/etcd/member/wal/0.wal", true, nil},
		"an existing directory": {
			"a/b/etcd/notes", "a/b/etcd/member/snap/db", true,
			[]string{"a", "a/b", "a/b/etcd", "a/b/etcd/notes"},
		},
		"a member of an earlier start": {
			"a/b/etcd/lock a/b/etcd/member/snap/db", "a/b/etcd/member/snap/new", false,
			[]string{"a", "a/b", "a/b/etcd", "a/b/etcd/lock", "a/b/etcd/member", "a/b/etcd/member/snap", "a/b/etcd/member/snap/db", "a/b/etcd/member/snap/new"},
		},
		"a file of somebody else": {
			"", "a/other", true,
			[]string{"a", "a/other"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file := range strings.FieldsSeq(c.before) {
				write(t, "before", root, file)
			}
			f := open(t, filepath.Join(root, "a", "b", "etcd"))
			if f.Fresh != c.fresh {
				t.Errorf("Fresh = %v, want %v", f.Fresh, c.fresh)
			}
			for file := range strings.FieldsSeq(c.start) {
				write(t, "start", root, file)
			}
			f.Undo()
			f.Undo()
			if left := tree(t, root); !slices.Equal(left, c.left) {
				t.Errorf("left: %q, want %q", left, c.left)
			}
		})
	}
}

// TestInUse: an attempt on a locked directory changes nothing in it.
func TestInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	f := open(t, dir)
	write(t, "x", dir, "member", "snap", "db")
	before := tree(t, dir)
	_, err := memberdir.Open(dir)
	if !errors.Is(err, errdefs.ErrInUse) || !strings.Contains(err.Error(), "Config.Dir: "+dir) || !strings.Contains(err.Error(), "another member of this process") {
		t.Errorf("got %v, want %v with the directory and its owner", err, errdefs.ErrInUse)
	}
	if after := tree(t, dir); !slices.Equal(before, after) {
		t.Errorf("before: %q, after: %q", before, after)
	}
	f.Unlock()
	f.Unlock()
	if again := open(t, dir); again.Fresh {
		t.Error("a directory with a member is fresh")
	}
}

func TestUnusable(t *testing.T) {
	root := t.TempDir()
	write(t, "x", root, "file")
	before := tree(t, root)
	for _, dir := range []string{"file", filepath.Join("file", "below")} {
		dir = filepath.Join(root, dir)
		if _, err := memberdir.Open(dir); err == nil || !strings.Contains(err.Error(), "Config.Dir: ") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: got %v, want an error with Config.Dir and the directory", dir, err)
		}
	}
	if after := tree(t, root); !slices.Equal(before, after) {
		t.Errorf("before: %q, after: %q", before, after)
	}
}

func TestHasData(t *testing.T) {
	for name, c := range map[string]struct {
		file, content string
		want          bool
	}{
		"empty directory":  {"", "", false},
		"a lock":           {"lock", "1", false},
		"killed at once":   {"member/snap/db", "", false},
		"a database":       {"member/snap/db", "x", true},
		"a log":            {"member/wal/0000000000000000-0000000000000000.wal", "", true},
		"no log of a name": {"member/wal/notes", "x", false},
	} {
		dir := t.TempDir()
		if c.file != "" {
			write(t, c.content, dir, c.file)
		}
		if got := memberdir.HasData(dir); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	if memberdir.HasData(filepath.Join(t.TempDir(), "none")) {
		t.Error("a missing directory has data")
	}
}
