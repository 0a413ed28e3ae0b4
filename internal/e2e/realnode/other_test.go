// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package realnode

import (
	"flag"
	"testing"
)

// The same flags as on Linux, so that a command line works on both.
var (
	_       = flag.Bool("install", false, "only for Linux")
	require = flag.Bool("require", false, "fail where the test would be skipped")
)

func TestSeedWalk(t *testing.T) {
	const reason = "kubelet, containerd and runc need Linux"
	if *require {
		t.Fatal(reason)
	}
	t.Skip(reason)
}
