// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package ownership_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/ownership"
)

func TestDirectoriesOfOthersAreRefused(t *testing.T) {
	base := t.TempDir()
	for name, c := range map[string]struct {
		mode    fs.FileMode
		uid     int
		dir     bool // accepted by Dir
		shared  bool // accepted by Shared
		message string
	}{
		"private":        {mode: 0o700, dir: true, shared: true},
		"readable":       {mode: 0o755, dir: true, shared: true},
		"group-writable": {mode: 0o775, message: "chmod go-w"},
		"setgid":         {mode: 0o775 | fs.ModeSetgid, message: "subdirectory"},
		"world-writable": {mode: 0o777, message: "mode 0777"},
		"like-tmp":       {mode: 0o777 | fs.ModeSticky, shared: true, message: "chmod go-w"},
		"foreign":        {mode: 0o700, uid: 65534, message: "belongs to user 65534"},
		"foreign-sticky": {mode: 0o777 | fs.ModeSticky, uid: 65534, message: "belongs to user 65534"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.uid != 0 && os.Geteuid() != 0 {
				t.Skip("giving a directory away needs root")
			}
			dir := filepath.Join(base, name)
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if c.uid != 0 {
				if err := os.Chown(dir, c.uid, c.uid); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(dir, c.mode); err != nil {
				t.Fatal(err)
			}
			link := dir + "-link"
			if err := os.Symlink(dir, link); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{dir, link} {
				expect(t, "Dir", ownership.Dir(path), c.dir, c.message)
				expect(t, "Shared", ownership.Shared(path), c.shared, c.message)
			}
		})
	}
	if err := errors.Join(ownership.Dir(filepath.Join(base, "none")), ownership.Shared(filepath.Join(base, "none")), ownership.File(filepath.Join(base, "none"))); err != nil {
		t.Errorf("missing files: got %v", err)
	}
}

func TestFilesOfOthersAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, "File", ownership.File(file), true, "")
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	expect(t, "File", ownership.File(file), false, "mode 0666")
}

func expect(t *testing.T, what string, err error, accepted bool, message string) {
	t.Helper()
	switch {
	case accepted && err != nil:
		t.Errorf("%s: got %v", what, err)
	case accepted:
	case !errors.Is(err, ownership.ErrUntrusted) || !strings.Contains(err.Error(), message):
		t.Errorf("%s: got %v, want ErrUntrusted with %q", what, err, message)
	}
}

// TestLinksOfOthersAreRefused: a link of another user would redirect our files.
func TestLinksOfOthersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a link to another user needs root")
	}
	base := t.TempDir()
	target, link := filepath.Join(base, "target"), filepath.Join(base, "link")
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := ownership.Dir(link); err != nil {
		t.Errorf("own link: got %v", err)
	}
	if err := os.Lchown(link, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	for name, check := range map[string]func(string) error{"Dir": ownership.Dir, "Shared": ownership.Shared, "File": ownership.File, "Tree": ownership.Tree} {
		if err := check(link); !errors.Is(err, ownership.ErrUntrusted) {
			t.Errorf("%s: link of another user: got %v", name, err)
		}
	}
}

// TestSocketsOfOthersAreRefused: the mode of a socket only says who may connect.
func TestSocketsOfOthersAreRefused(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	listener, err := net.Listen("unix", socket) //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := os.Chmod(socket, 0o777); err != nil {
		t.Fatal(err)
	}
	expect(t, "Socket", ownership.Socket(socket), true, "")
	if os.Geteuid() != 0 {
		t.Skip("giving a socket away needs root")
	}
	if err := os.Chown(socket, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	expect(t, "Socket", ownership.Socket(socket), false, "belongs to user 65534")
}
