package controlplanetest

// TB is what the fixture needs of a test: *testing.T, *testing.B, *testing.F and
// what Ginkgo's GinkgoT returns have it.
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
