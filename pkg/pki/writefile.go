package pki

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kubembed/kubembed/internal/files"
	"github.com/kubembed/kubembed/internal/ownership"
)

// tempSuffix marks the files that WriteFile has not finished.
const tempSuffix = ".unfinished-"

// WriteFile replaces the file at path with data, for good: after a crash or a
// power cut there is the old file or the new one, never a part, and never a
// moment at which others can read it. Use perm 0600 for a kubeconfig or a key.
// The directory must exist, and be one that other users of the machine cannot write to,
// or like /tmp: a user who can replace a kubeconfig decides which commands its reader runs.
func WriteFile(path string, data []byte, perm fs.FileMode) (err error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	if err := ownership.Shared(dir); err != nil {
		return err
	}
	// CreateTemp makes the file with mode 0600.
	f, err := os.CreateTemp(dir, base+tempSuffix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // a second Close does no harm
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return files.SyncDir(dir)
}
