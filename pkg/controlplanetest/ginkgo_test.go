// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// otherGinkgo is the GinkgoT in BeforeSuite of a Ginkgo that stores its specs where the
// fixture does not find them. examples/envtest-migration/failures tests the version in
// go.mod.
type otherGinkgo struct{ *recorder }

func (otherGinkgo) Name() string { return "" }

func (g otherGinkgo) DeferCleanup(args ...any) {
	g.Cleanup(func() { args[0].(func(context.Context))(context.Background()) })
}

func (g otherGinkgo) AddReportEntryVisibilityAlways(name string, args ...any) {
	g.Logf("%s %v", name, args)
}

// TestOtherGinkgo: if the fixture cannot find out whether a spec has failed, it writes
// a dump with a hint.
func TestOtherGinkgo(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	var r recorder
	r.run(func(controlplanetest.TB) {
		controlplanetest.New(otherGinkgo{&r}, controlplanetest.Config{DumpOnFailure: directory, KeepOnFailure: true})
	})
	for _, want := range []string{filepath.Join(directory, "the_suite"), "call OnFailure in JustAfterEach"} {
		if !strings.Contains(r.text(), want) {
			t.Errorf("no %q in: %s", want, r.text())
		}
	}
}

// TestOnFailure: OnFailure dumps at once, once for each test, and only if the test has
// failed.
func TestOnFailure(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	var r recorder
	r.run(func(owner controlplanetest.TB) {
		cp := controlplanetest.New(owner, controlplanetest.Config{DumpOnFailure: directory})
		passes, fails := recorder{name: "TestPasses"}, recorder{name: "TestFails"}
		passes.run(func(t controlplanetest.TB) {
			cp.Namespace(t)
			cp.OnFailure(t)
		})
		fails.run(func(t controlplanetest.TB) {
			cp.Namespace(t)
			t.Errorf("on purpose")
			cp.OnFailure(t)
			cp.OnFailure(t)
		})
		if names := leftovers(t, directory); len(names) != 1 || names[0] != "TestFails" {
			t.Errorf("dumped are %v", names)
		}
		var none *controlplanetest.ControlPlane
		none.OnFailure(&fails) // as after a failed BeforeSuite
	})
	if r.failed {
		t.Error(r.text())
	}
}
