// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package snapshots

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
)

// TestWriteFileChecksTheDiskOfItsTarget: a symbolic link may lead to another disk.
func TestWriteFileChecksTheDiskOfItsTarget(t *testing.T) {
	// A temporary directory may have a link in its path.
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	near, far := filepath.Join(root, "near"), filepath.Join(root, "far")
	for _, dir := range []string{near, far} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	target := filepath.Join(far, "target")
	if err := os.WriteFile(target, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(near, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Skipf("no symbolic links: %v", err)
	}
	for path, want := range map[string]string{
		link:                       far,
		target:                     far,
		filepath.Join(near, "new"): near,
	} {
		var asked []string
		disk := func(dir string) *Disk {
			asked = append(asked, dir)
			return NewDisk("path", dir, "", nil)
		}
		err := WriteFile(t.Context(), path, 1, disk, zap.NewNop(), func(w io.Writer) error {
			_, err := io.WriteString(w, "new")
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if len(asked) != 1 || asked[0] != want {
			t.Errorf("%s: asked for the disk of %q, want %q", path, asked, want)
		}
	}
	if content, err := os.ReadFile(target); err != nil || string(content) != "new" {
		t.Errorf("the target of the link is %q, %v", content, err)
	}
}
