// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/kubembed/kubembed/internal/ownership"
)

// TestWriteAtomicWhereOthersWrite: a user who can replace a kubeconfig decides which
// server its user trusts, and which commands it runs.
func TestWriteAtomicWhereOthersWrite(t *testing.T) {
	dir := t.TempDir()
	for mode, accepted := range map[fs.FileMode]bool{
		0o700: true, 0o755: true, 0o777 | fs.ModeSticky: true, 0o775: false, 0o777: false,
	} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		err := WriteAtomic(filepath.Join(dir, "admin.kubeconfig"), []byte("x"), 0o600)
		if accepted != (err == nil) || err != nil && !errors.Is(err, ownership.ErrUntrusted) {
			t.Errorf("in a directory of mode %v: %v", mode, err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("it holds %v, %v", names, err)
	}
}
