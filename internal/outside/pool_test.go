// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package outside_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	// As in outside_test.go.
	_ "github.com/kubembed/kubembed/internal/pool/program"

	"github.com/kubembed/kubembed/internal/dirlock"
	"github.com/kubembed/kubembed/internal/pool/place"
	"github.com/kubembed/kubembed/internal/testwait"
)

const toolPackage = library + "/pkg/controlplanetest/controlplanes"

// poolProject is a module whose tests use clientModule.
type poolProject struct {
	dir string
	// env has the module proxy, offline has none.
	env, offline []string
	version      string
	tests        int // in all packages
	// modfile is a file beside go.mod that has the tool, or empty.
	modfile string
}

// newPoolProject creates a module with requirements, and with files of testdata before it
// adopts the fixture.
func newPoolProject(t *testing.T, goVersion string, requirements []string, files ...string) *poolProject {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a program and may need the module proxy")
	}
	version, env := publish(t)
	p := &poolProject{dir: t.TempDir(), env: env, offline: append(env, "GOPROXY=off", "KUBEMBED_CONTROLPLANES="), version: version}
	// The project's program ends with the test.
	t.Setenv("TMPDIR", t.TempDir())
	for _, name := range files {
		p.copy(t, name, ".")
	}
	p.run(t, "mod", "init", "example.com/project")
	p.run(t, "mod", "edit", "-go="+goVersion)
	for _, requirement := range requirements {
		p.run(t, "mod", "edit", "-require="+requirement)
	}
	p.run(t, "mod", "tidy")
	return p
}

func (p *poolProject) run(t *testing.T, args ...string) string {
	t.Helper()
	return goCommand(t, p.dir, p.env, args...)
}

// copy copies a file of testdata to a directory of the project. It changes only the
// import of the fixture, and adds the modfile to its Config.
func (p *poolProject) copy(t *testing.T, name, directory string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), library+"/pkg/controlplanetest", clientModule+"/controlplanetest")
	if p.modfile != "" {
		text = strings.ReplaceAll(text, "controlplanetest.Config{", "controlplanetest.Config{Modfile: \""+p.modfile+"\", ")
	}
	write(t, filepath.Join(p.dir, filepath.FromSlash(directory), path.Base(name)), text)
}

// adopt adds the fixture and, if the project has a modfile, the tool. The versions of the
// project must not change.
func (p *poolProject) adopt(t *testing.T) {
	t.Helper()
	before := p.versions(t)
	p.run(t, "get", clientModule+"/controlplanetest@"+p.version)
	if p.modfile != "" {
		p.run(t, "mod", "init", "-modfile="+p.modfile, "tools")
		p.run(t, "get", "-tool", "-modfile="+p.modfile, toolPackage+"@"+p.version)
	}
	after := p.versions(t)
	for module, version := range before {
		if after[module] != version {
			t.Errorf("%s was at %s, is at %s", module, version, after[module])
		}
	}
	if after[clientModule] != p.version {
		t.Errorf("the project requires %s at %q, not at %s", clientModule, after[clientModule], p.version)
	}
	if version, ok := after["k8s.io/kubernetes"]; ok {
		t.Errorf("the project requires k8s.io/kubernetes at %s", version)
	}
}

// versions returns the modules that go.mod requires, which have all packages that the
// project builds.
func (p *poolProject) versions(t *testing.T) map[string]string {
	t.Helper()
	var mod struct {
		Require []struct{ Path, Version string }
		Replace []any
	}
	if err := json.Unmarshal([]byte(p.run(t, "mod", "edit", "-json")), &mod); err != nil {
		t.Fatal(err)
	}
	if len(mod.Replace) > 0 {
		t.Errorf("replace directives: %v", mod.Replace)
	}
	versions := map[string]string{}
	for _, required := range mod.Require {
		versions[required.Path] = required.Version
	}
	return versions
}

// passes runs the tests without a module proxy.
func (p *poolProject) passes(t *testing.T, env []string, flags ...string) {
	t.Helper()
	began := time.Now()
	out := goCommand(t, p.dir, slices.Concat(p.offline, env), slices.Concat([]string{"test", "-count=1", "-v"}, flags, []string{"./..."})...)
	if got := strings.Count(out, "\n--- PASS: Test"); got != p.tests {
		t.Errorf("go test %v: %d tests, want %d:\n%s", flags, got, p.tests, out)
	}
	t.Logf("%v go test %v took %v", env, flags, time.Since(began).Round(time.Second))
}

// tool runs go tool in the project.
func (p *poolProject) tool(t *testing.T, args ...string) string {
	t.Helper()
	flags := []string{"tool"}
	if p.modfile != "" {
		flags = append(flags, "-modfile="+p.modfile)
	}
	return strings.TrimSpace(goCommand(t, p.dir, p.offline, slices.Concat(flags, args)...))
}

// stop ends the program, and returns when its process has ended.
func (p *poolProject) stop(t *testing.T) {
	t.Helper()
	p.tool(t, "controlplanes", "stop")
	dir, err := place.Of(p.tool(t, "-n", "controlplanes"))
	if err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "the program has ended", func(context.Context) error {
		lock, err := dirlock.Take(dir)
		if err == nil {
			lock.Unlock()
		}
		return err
	})
}

// TestPoolFromOutsideWithOlderKubernetes adopts the fixture in a project with kueue's
// versions: controller-runtime v0.23 does not compile with the program's client-go. The
// test for the fixture in the test's process needs another import and the field Modfile.
func TestPoolFromOutsideWithOlderKubernetes(t *testing.T) {
	p := newPoolProject(t, "1.25.0", []string{
		"k8s.io/api@v0.35.3", "k8s.io/apimachinery@v0.35.3", "k8s.io/client-go@v0.35.3", "sigs.k8s.io/controller-runtime@v0.23.3",
	}, "project/labeler.go")
	p.modfile = "tools.mod"
	p.adopt(t)
	p.copy(t, "project/labeler_test.go", ".")
	p.tests = 1
	defer p.stop(t)
	p.passes(t, nil)
	if got := p.tool(t, "controlplanes", "status"); !strings.Contains(got, "Kubernetes 1.37") {
		t.Errorf("the program's status: %s", got)
	}
}

// TestPoolFromOutside adopts the fixture in a project with the program's version of
// client-go, whose go.mod has the tool.
func TestPoolFromOutside(t *testing.T) {
	versions := clientVersions(t)
	p := newPoolProject(t, "1.26.0", versions, "pool/client.go")
	p.adopt(t)
	p.copy(t, "adopter/adopter_test.go", ".")
	out := failing(t, p, "test", "-run=TestOwn", ".")
	if line := "\tgo get -tool " + toolPackage + "\n"; !strings.Contains(out, line) {
		t.Errorf("go test without the tool does not say %q:\n%s", line, out)
	}
	p.run(t, "get", "-tool", toolPackage+"@"+p.version)
	got := p.versions(t)
	for _, version := range versions {
		if module, version, _ := strings.Cut(version, "@"); got[module] != version {
			t.Errorf("%s was at %s, is at %s", module, version, got[module])
		}
	}

	// Two packages need the program at the same time.
	p.copy(t, "adopter/adopter_test.go", "second")
	p.tests = 4
	defer p.stop(t)
	p.passes(t, nil)
	if got := p.tool(t, "controlplanes", "status"); strings.Count(got, "process ") != 1 || !strings.Contains(got, "version "+p.version) {
		t.Errorf("the status of the only program: %s", got)
	}
	p.sizes(t)
	p.passes(t, []string{"GOFLAGS=-mod=mod"}, "-cover")
	goCommand(t, p.dir, append(p.env, "GOWORK="), "work", "init", ".")
	p.passes(t, []string{"GOWORK="})
	if *variants {
		p.passes(t, nil, "-race")
		p.run(t, "mod", "tidy")
		p.run(t, "mod", "vendor")
		p.passes(t, []string{"GOFLAGS=-mod=vendor"})
	}
}

// sizeLimit is what the fixture may add to a stripped test binary, in bytes. It adds
// 3.17 MB; the project's bar is 3 MB, which internal/bench measures.
const sizeLimit = 3_200_000

// sizes compares the test binary with one that has client-go alone, as in
// internal/bench/edit/client: it finds its cluster with clientcmd.
func (p *poolProject) sizes(t *testing.T) {
	t.Helper()
	p.copy(t, "pool/alone_test.go", "alone")
	directory := t.TempDir()
	size := func(pkg string, flags ...string) int64 {
		file := filepath.Join(directory, "test.exe")
		goCommand(t, p.dir, p.offline, slices.Concat([]string{"test", "-c", "-o", file}, flags, []string{pkg})...)
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	const stripped = "-ldflags=-s -w"
	for _, flags := range [][]string{nil, {stripped}} {
		with, alone := size("./second", flags...), size("./alone", flags...)
		t.Logf("%v the test binary has %d bytes, with client-go alone %d: %d more", flags, with, alone, with-alone)
		if slices.Contains(flags, stripped) && with-alone > sizeLimit {
			t.Errorf("the fixture adds %d bytes to a stripped test binary, more than %d", with-alone, sizeLimit)
		}
	}
	if err := os.RemoveAll(filepath.Join(p.dir, "alone")); err != nil {
		t.Error(err)
	}
}

// clientVersions returns the modules of client-go in the versions of the library.
func clientVersions(t *testing.T) []string {
	t.Helper()
	list := goCommand(t, checkout(t), nil, "list", "-m", "-f", "{{.Path}}@{{.Version}}", "k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go")
	return strings.Fields(list)
}

// failing runs the go command, which must fail, and returns its output.
func failing(t *testing.T, p *poolProject, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Env = p.dir, append(append(os.Environ(), "GOWORK=off"), p.offline...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("go %v does not fail:\n%s", args, out)
	}
	return string(out)
}
