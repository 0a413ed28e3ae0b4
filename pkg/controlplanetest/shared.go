package controlplanetest

import (
	"fmt"
	"os"
	"sync"
)

var shared struct {
	sync.Mutex
	config *Config // of Main
	cp     *ControlPlane
	err    error
}

// Main runs the tests of a package that share one control plane, and returns the
// exit code:
//
//	func TestMain(m *testing.M) {
//		os.Exit(controlplanetest.Main(m, controlplanetest.Config{}))
//	}
//
// The control plane starts at the first call of Shared, and stops after the last
// test.
func Main(m interface{ Run() int }, cfg Config) int {
	shared.Lock()
	shared.config = &cfg
	shared.Unlock()
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.cp == nil {
		return code
	}
	if err := shared.cp.end(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	shared.config, shared.cp = nil, nil
	return code
}

// Shared returns the control plane that the tests of the package share. TestMain
// must call Main. Give each test a Namespace of its own, or call Reset between
// tests that do not run in parallel.
func Shared(t TB) *ControlPlane {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.config == nil {
		t.Fatalf("controlplanetest: Shared needs: func TestMain(m *testing.M) { os.Exit(controlplanetest.Main(m, controlplanetest.Config{})) }")
	}
	if shared.cp == nil && shared.err == nil {
		shared.cp, shared.err = start("the tests of the package", *shared.config)
	}
	if shared.err != nil {
		t.Fatalf("%v", shared.err)
	}
	return shared.cp
}
