// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// Files of tests that end in inprocess_test.go are for a control plane in the process of
// the test. Most others also run with the fixture of pkg/pool, as copies: see
// internal/poolcopy.

// dies is a component that ends on request, and with it its control plane.
type dies struct{ when chan struct{} }

func (dies) Name() string { return "dies" }

func (d dies) Run(ctx context.Context, _ *rest.Config, ready func()) error {
	ready()
	select {
	case <-ctx.Done():
		return nil
	case <-d.when:
		return errors.New("on purpose")
	}
}

// A control plane that stops by itself fails its test with the reason.
func TestStoppedByItself(t *testing.T) {
	t.Parallel()
	component := dies{make(chan struct{})}
	var cfg controlplanetest.Config
	cfg.ControlPlane.Components = []controlplane.Component{component}
	var r recorder
	r.run(func(t controlplanetest.TB) {
		cp := controlplanetest.New(t, cfg)
		close(component.when)
		<-cp.Done()
	})
	if !r.failed || !strings.Contains(r.text(), "on purpose") {
		t.Errorf("failed %v: %s", r.failed, r.text())
	}
}

// ginkgo behaves like GinkgoT: Errorf and Fatalf panic, and a cleanup cannot register a
// cleanup.
type ginkgo struct {
	*recorder
	cleaning *bool
}

func (g ginkgo) Errorf(format string, args ...any) {
	g.say(true, format, args...)
	panic("failed")
}

func (g ginkgo) Fatalf(format string, args ...any) { g.Errorf(format, args...) }

func (g ginkgo) TempDir() string {
	if *g.cleaning {
		g.Errorf("a cleanup in a cleanup")
	}
	return g.recorder.TempDir()
}

func (g ginkgo) Cleanup(f func()) {
	if *g.cleaning {
		g.Errorf("a cleanup in a cleanup")
	}
	g.recorder.Cleanup(func() {
		*g.cleaning = true
		f()
	})
}

// After a failure at or before the end of the test, nothing keeps running.
func TestEndOfGinkgo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]func(cp *controlplanetest.ControlPlane, t controlplanetest.TB, stop func()){
		"fails":           func(_ *controlplanetest.ControlPlane, t controlplanetest.TB, _ func()) { t.Fatalf("on purpose") },
		"stops by itself": func(cp *controlplanetest.ControlPlane, _ controlplanetest.TB, stop func()) { stop(); <-cp.Done() },
	} {
		component := dies{make(chan struct{})}
		var r recorder
		var cp *controlplanetest.ControlPlane
		r.run(func(t controlplanetest.TB) {
			g := ginkgo{&r, new(bool)}
			cfg := controlplanetest.Config{Audit: true, DumpOnFailure: file}
			cfg.ControlPlane.Components = []controlplane.Component{component}
			cp = controlplanetest.New(g, cfg)
			cp.Namespace(g)
			test(cp, g, func() { close(component.when) })
		})
		if !r.failed || !strings.Contains(r.text(), "on purpose") || !strings.Contains(r.text(), "Config.DumpOnFailure") || strings.Contains(r.text(), "in a cleanup") {
			t.Errorf("%s: failed %v: %s", name, r.failed, r.text())
		}
		<-cp.Done()
	}
}

// TestServerMethods: a new method of Server is either offered for the duration of a test,
// or left out on purpose.
func TestServerMethods(t *testing.T) {
	t.Parallel()
	leftOut := map[string]string{
		"Close":             "the fixture stops the control plane",
		"Shutdown":          "the fixture stops the control plane",
		"Handler":           "a test serves nothing that other programs mount",
		"AddMember":         "the fixture's etcd has one member",
		"PromoteMember":     "the fixture's etcd has one member",
		"RemoveMember":      "the fixture's etcd has one member",
		"SetAuthentication": "tests may share the control plane",
		"SetAuthorization":  "tests may share the control plane",
	}
	server, fixture := reflect.TypeFor[*controlplane.Server](), reflect.TypeFor[*controlplanetest.ControlPlane]()
	for method := range server.Methods() {
		name := method.Name
		_, offered := fixture.MethodByName(name)
		if _, left := leftOut[name]; left == offered {
			t.Errorf("controlplane.Server.%s: offered by ControlPlane = %t, left out on purpose = %t, want one of both", name, offered, left)
		}
	}
}
