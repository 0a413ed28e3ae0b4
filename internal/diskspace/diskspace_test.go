// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package diskspace

import (
	"path/filepath"
	"testing"
)

func TestSame(t *testing.T) {
	dir := t.TempDir()
	if _, ok := Free(dir); !ok {
		t.Skip("this system does not report free space")
	}
	if !Same(dir, dir) {
		t.Error("a directory does not share its own free space")
	}
	if _, ok := Free(filepath.Join(dir, "missing")); ok {
		t.Error("a missing directory has free space")
	}
	if Same(dir, filepath.Join(dir, "missing")) || Same(filepath.Join(dir, "missing"), dir) {
		t.Error("a missing directory shares free space")
	}
}
