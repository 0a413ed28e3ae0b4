// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package outside_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	// As in outside_test.go.
	_ "github.com/kubembed/kubembed/pkg/controlplanetest"
)

var variants = flag.Bool("variants", false, "build the test of an outside module with -race, and vendored with -trimpath, too: "+
	"minutes, as everything is built anew, unless it is in the build cache")

// TestFixtureFromOutside uses the test fixture from a module with one test: go get, go
// test. It has no replace directive, no downloaded binary and no environment variable.
func TestFixtureFromOutside(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program and may need the module proxy")
	}
	version, env := publish(t)
	dir := t.TempDir()
	name := "adopter_test.go"
	test, err := os.ReadFile(filepath.Join("testdata", "adopter", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), test, 0o600); err != nil {
		t.Fatal(err)
	}
	goCommand(t, dir, env, "mod", "init", "example.com/adopter")
	goCommand(t, dir, env, "get", library+"/pkg/controlplanetest@"+version)

	var mod struct {
		Require []struct{ Path, Version string }
		Replace []any
	}
	if err := json.Unmarshal([]byte(goCommand(t, dir, env, "mod", "edit", "-json")), &mod); err != nil {
		t.Fatal(err)
	}
	if len(mod.Replace) > 0 {
		t.Errorf("replace directives: %v", mod.Replace)
	}
	var got string
	for _, required := range mod.Require {
		if required.Path == library {
			got = required.Version
		}
	}
	if got != version {
		t.Fatalf("the module requires version %q, not %s", got, version)
	}

	// From here on, downloads fail.
	offline := append(env, "GOPROXY=off", "KUBEBUILDER_ASSETS=")
	passes := func(flags ...string) {
		t.Helper()
		began := time.Now()
		out := goCommand(t, dir, offline, append(append([]string{"test", "-count=1", "-v"}, flags...), "./...")...)
		if !strings.Contains(out, "--- PASS: TestOwn") || !strings.Contains(out, "--- PASS: TestShared") {
			t.Errorf("go test %v:\n%s", flags, out)
		}
		t.Logf("go test %v took %v", flags, time.Since(began).Round(time.Second))
	}
	passes()
	if *variants {
		passes("-race")
		goCommand(t, dir, env, "mod", "tidy")
		goCommand(t, dir, env, "mod", "vendor")
		passes("-mod=vendor", "-trimpath")
	}
}

// TestFixtureInAProjectWithControllerRuntime adopts the fixture in a project with
// client-go and controller-runtime for this Kubernetes version. go get is enough: the
// project's versions stay, and its tests compile and pass without go mod tidy.
func TestFixtureInAProjectWithControllerRuntime(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program and may need the module proxy")
	}
	version, env := publish(t)
	dir := t.TempDir()
	copyFile := func(name string) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join("testdata", "project", name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(data))
	}
	// The project before the change.
	versions := map[string]string{}
	var example struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal([]byte(goCommand(t, filepath.Join(checkout(t), "examples", "controller-test"), nil, "mod", "edit", "-json")), &example); err != nil {
		t.Fatal(err)
	}
	for _, r := range example.Require {
		versions[r.Path] = r.Version
	}
	const runtime, clientGo = "sigs.k8s.io/controller-runtime", "k8s.io/client-go"
	copyFile("labeler.go")
	goCommand(t, dir, env, "mod", "init", "example.com/project")
	for _, module := range []string{runtime, clientGo, "k8s.io/api", "k8s.io/apimachinery"} {
		if versions[module] == "" {
			t.Fatalf("examples/controller-test does not require %s", module)
		}
		goCommand(t, dir, env, "mod", "edit", "-require="+module+"@"+versions[module])
	}
	goCommand(t, dir, env, "mod", "tidy")
	before := goCommand(t, dir, env, "list", "-m", "all")

	goCommand(t, dir, env, "get", library+"/pkg/controlplanetest@"+version)
	copyFile("labeler_test.go")
	after := goCommand(t, dir, env, "list", "-m", "all")
	for _, module := range []string{runtime, clientGo, "k8s.io/api", "k8s.io/apimachinery"} {
		line := "\n" + module + " v"
		if !strings.Contains(before, line) {
			t.Errorf("the project does not have %s", module)
			continue
		}
		_, was, _ := strings.Cut(before, line)
		_, is, _ := strings.Cut(after, line)
		was, _, _ = strings.Cut(was, "\n")
		is, _, _ = strings.Cut(is, "\n")
		if was != is || versions[module] != "v"+is {
			t.Errorf("%s was at v%s, is at v%s", module, was, is)
		}
	}
	out := goCommand(t, dir, append(env, "GOPROXY=off", "KUBEBUILDER_ASSETS="), "test", "-count=1", "-v", "./...")
	if !strings.Contains(out, "--- PASS: TestLabeler") {
		t.Error(out)
	}
}
