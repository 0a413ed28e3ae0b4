//go:build !linux

package controlplane_test

import "testing"

// onTmpfs is not supported here.
func onTmpfs(testing.TB, string) bool { return false }
