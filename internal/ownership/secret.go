// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrReadable reports that every user of the machine can read a secret.
var ErrReadable = errors.New("every user of this machine can read it")

// Secret checks an existing file with keys or passwords, as File does. Others must not be
// able to read it, by its mode or because they cannot enter a directory above it. Its
// group may: that is how secrets reach processes that are not root. A missing file is no
// error.
func Secret(path string) error {
	info, err := stat(path)
	if info == nil {
		return err
	}
	if err := Regular(path); err != nil {
		return err
	}
	if err := checkFile(path, info); err != nil {
		return err
	}
	if mode := info.Mode().Perm(); readableByAll(mode) && reachableByAll(path) {
		return fmt.Errorf("%s: %w: it has secrets and its mode is %04o: chmod o-r, and replace the secrets if another user may have read them", path, ErrReadable, mode)
	}
	return nil
}

// reachableByAll reports whether every user may enter all directories above a file.
// If that is unknown, it reports true.
func reachableByAll(path string) bool {
	path, err := filepath.Abs(path)
	if err != nil {
		return true
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return true
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil && info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
