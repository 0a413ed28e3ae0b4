// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package place

import (
	"io/fs"
	"os"
	"path/filepath"
)

// Variable names the variable that moves Dir.
const Variable = "LOCALAPPDATA"

// path is below the profile of the user, which others cannot read: Windows gives files
// there the access list of the profile, whatever mode they are created with. Windows has
// Unix sockets since version 10, and access to them is access to their file.
func path() (string, error) {
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "kubembed-pool"), err
}

func private(fs.FileInfo) bool { return true }
