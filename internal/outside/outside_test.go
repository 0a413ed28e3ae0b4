// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package outside_test uses the library from the outside: from a module that requires
// it, and from a program that links it.
package outside_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	// Build the library before the tests run: their own builds then find it in the
	// cache, instead of competing with the build of go test.
	_ "github.com/kubembed/kubembed/pkg/controlplane"
)

const library = "github.com/kubembed/kubembed"

// TestOutsideModule creates a module with one program that requires only the library. A
// replace directive stands for the version that go get would find.
func TestOutsideModule(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program and may need the module proxy")
	}
	root, dir := checkout(t), t.TempDir()
	program, err := os.ReadFile(filepath.Join(root, "examples", "minimal", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), program, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		return goCommand(t, dir, []string{"GOFLAGS=-mod=mod"}, args...)
	}
	run("mod", "init", "example.com/outside")
	run("mod", "edit", "-require="+library+"@v0.0.0", "-replace="+library+"="+root)
	run("mod", "tidy")

	// The module needs no replace directive of ours.
	var mod struct {
		Replace []struct{ Old struct{ Path string } }
	}
	if err := json.Unmarshal([]byte(run("mod", "edit", "-json")), &mod); err != nil {
		t.Fatal(err)
	}
	if len(mod.Replace) != 1 || mod.Replace[0].Old.Path != library {
		t.Errorf("replace directives: %+v", mod.Replace)
	}
	// k8s.io/kubernetes requires the modules that it replaces in its own repository at
	// v0.0.0. None must be left.
	modules := run("list", "-m", "all")
	for line := range strings.Lines(modules) {
		if name, version, _ := strings.Cut(strings.TrimSpace(line), " "); version == "v0.0.0" {
			t.Errorf("%s has no version", name)
		}
	}
	if !strings.Contains(modules, "\nk8s.io/kubernetes v1.") {
		t.Errorf("the list of modules:\n%s", modules)
	}

	binary := filepath.Join(dir, "outside.exe") // Windows needs the extension
	run("build", "-o", binary, ".")
	out, err := exec.CommandContext(t.Context(), binary).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got, want := string(out), "default/nginx Pending\n"; got != want {
		t.Errorf("it printed:\n%swant:\n%s", got, want)
	}
}

// TestNoReplaceDirective: go get ignores the replace directives of a library, so a fix
// by one would not reach users.
func TestNoReplaceDirective(t *testing.T) {
	var mod struct{ Replace, Exclude []any }
	if err := json.Unmarshal([]byte(goCommand(t, checkout(t), nil, "mod", "edit", "-json")), &mod); err != nil {
		t.Fatal(err)
	}
	if len(mod.Replace)+len(mod.Exclude) > 0 {
		t.Errorf("go.mod has directives that users do not get: %v %v", mod.Replace, mod.Exclude)
	}
}
