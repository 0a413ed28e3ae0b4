//go:build !linux

package controlplane_test

import "testing"

// onTmpfs cannot tell here.
func onTmpfs(testing.TB, string) bool { return false }
