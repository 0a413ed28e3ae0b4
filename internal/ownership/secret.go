// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"errors"
	"fmt"
)

// ErrReadable reports that every user of the machine can read a secret.
var ErrReadable = errors.New("every user of this machine can read it")

// Secret checks an existing file with keys or passwords, as File does. Others must not be
// able to read it. Its group may: that is how secrets reach processes that are not root.
// A missing file is no error.
func Secret(path string) error {
	info, err := stat(path)
	if info == nil {
		return err
	}
	if err := check(path, info, ""); err != nil {
		return err
	}
	if mode := info.Mode().Perm(); readableByAll(mode) {
		return fmt.Errorf("%s: %w: it has secrets and its mode is %04o: chmod o-r, and replace the secrets if another user may have read them", path, ErrReadable, mode)
	}
	return nil
}
