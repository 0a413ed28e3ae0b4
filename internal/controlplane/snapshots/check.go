// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package snapshots

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	syncfiles "github.com/kubembed/kubembed/internal/files"
)

// checkName is the name, which temporaryName extends, of the file that CheckDir writes.
const checkName = "kubembed-check"

// CheckDir writes a file to dir and deletes it. It makes missing directories, which it
// returns, the outermost first.
func CheckDir(dir string) (made []string, err error) {
	made = missing(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		RemoveEmpty(made)
		return nil, err
	}
	removeLeftovers(dir, checkName)
	file, err := createLocked(temporaryName(filepath.Join(dir, checkName)))
	if err != nil {
		return made, err
	}
	_, err = file.Write([]byte("x"))
	return made, errors.Join(err, file.Sync(), file.Close(), os.Remove(file.Name()), syncfiles.SyncDir(dir))
}

// missing returns the directories that MkdirAll would make, the outermost first.
func missing(dir string) (all []string) {
	for {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			slices.Reverse(all)
			return all
		}
		all = append(all, dir)
		dir = filepath.Dir(dir)
	}
}

// RemoveEmpty removes directories that CheckDir has made, if they are empty.
func RemoveEmpty(made []string) {
	for _, dir := range slices.Backward(made) {
		_ = os.Remove(dir)
	}
}
