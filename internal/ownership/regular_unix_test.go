// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package ownership_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kubembed/kubembed/internal/ownership"
)

// TestRegular: a pipe is refused without being opened: reading it could last forever.
func TestRegular(t *testing.T) {
	dir := t.TempDir()
	pipe, link, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "link"), filepath.Join(dir, "file")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(pipe, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{pipe: "is a pipe", link: "is a pipe", os.DevNull: "is a device", file: "", dir: "", filepath.Join(dir, "missing"): ""} {
		for name, check := range map[string]func(string) error{"Regular": ownership.Regular, "File": ownership.File, "Secret": ownership.Secret} {
			if err := check(path); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s(%s): got %v, want %q", name, path, err, want)
			}
		}
	}
	if err := ownership.Appended(pipe); err != nil {
		t.Errorf("a pipe to write to: %v", err)
	}
}
