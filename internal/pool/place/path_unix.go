// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package place

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

func path() (string, error) {
	return filepath.Join(os.TempDir(), "kubembed-pool-"+strconv.Itoa(os.Getuid())), nil
}

func private(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid() && info.Mode().Perm() == 0o700
}
