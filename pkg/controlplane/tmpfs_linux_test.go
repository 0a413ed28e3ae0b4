// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"syscall"
	"testing"
)

// onTmpfs reports whether dir is in memory only.
func onTmpfs(t testing.TB, dir string) bool {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	return fs.Type == tmpfs || fs.Type == ramfs
}
