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

// Variable names the variable that moves Dir.
const Variable = "TMPDIR"

// maxTemp is the length of a directory for temporary files below which sockets can be:
// their paths have at most 103 bytes on macOS, and 107 on Linux.
const maxTemp = 60

func path() (string, error) {
	temp := os.TempDir()
	if len(temp) > maxTemp {
		temp = "/tmp"
	}
	return filepath.Join(temp, "kubembed-pool-"+strconv.Itoa(os.Getuid())), nil
}

func private(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid() && info.Mode().Perm() == 0o700
}
