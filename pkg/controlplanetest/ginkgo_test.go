package controlplanetest_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// otherGinkgo is what GinkgoT returns in BeforeSuite of a Ginkgo that keeps its specs
// where the fixture does not find them. That of go.mod is tested in
// examples/envtest-migration/failures.
type otherGinkgo struct{ *recorder }

func (otherGinkgo) Name() string { return "" }

func (g otherGinkgo) DeferCleanup(args ...any) {
	g.Cleanup(func() { args[0].(func(context.Context))(context.Background()) })
}

func (g otherGinkgo) AddReportEntryVisibilityAlways(name string, args ...any) {
	g.Logf("%s %v", name, args)
}

// TestOtherGinkgo: where nobody knows whether a spec has failed there is a dump, which
// says how to have it known.
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

// TestOnFailure: at once, once for each test, and only if it has failed.
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
		none.OnFailure(&fails) // of a suite whose BeforeSuite has failed
	})
	if r.failed {
		t.Error(r.text())
	}
}
