// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package place

import (
	"io/fs"
	"os"
	"path/filepath"
)

// path is below the profile of the user, which others cannot read.
func path() (string, error) {
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "kubembed-pool"), err
}

func private(fs.FileInfo) bool { return true }
