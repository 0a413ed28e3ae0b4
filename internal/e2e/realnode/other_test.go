//go:build !linux

package realnode

import (
	"flag"
	"testing"
)

// The flags are those of Linux, so that a command line fits both.
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
