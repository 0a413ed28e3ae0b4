// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

// TB is the part of testing.TB that the fixture uses. *testing.T, *testing.B, *testing.F
// and the result of Ginkgo's GinkgoT implement it. Fatalf must not return. Errorf may or
// may not: Ginkgo's does not.
type TB interface {
	Helper()
	Name() string
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	TempDir() string
}
