package controlplanetest

// TB is what the fixture needs of a test: *testing.T, *testing.B, *testing.F and
// what Ginkgo's GinkgoT returns have it. Fatalf does not return; that Errorf does is
// not relied on, as Ginkgo's does not.
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
