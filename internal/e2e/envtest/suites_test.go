// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// suite is the test suite of a project, or a part of it.
type suite struct {
	module   string
	packages []string
	more     []string // for -all
	args     []string // for the test programs, unless -all
	// skip is passed to go test, for tests that cannot run here.
	skip string
	// known are expected failures with their reasons. They also occur with the real
	// kube-apiserver and etcd: a failure only with our programs is a bug.
	known map[string]string
}

const noExecutables = "it runs a script of its testdata, and a module's zip holds no file modes"

var suites = map[string]suite{
	"controller-runtime": {
		module: "sigs.k8s.io/controller-runtime", // the version of our examples
		packages: []string{
			"./pkg/builder", "./pkg/client", "./pkg/client/apiutil", "./pkg/cluster", "./pkg/controller", "./pkg/envtest", "./pkg/handler",
			"./pkg/internal/controller", "./pkg/internal/recorder", "./pkg/internal/testing/controlplane",
			"./pkg/manager/internal/integration", "./pkg/metrics/filters", "./pkg/reconcile", "./pkg/source", "./pkg/webhook",
		},
		more: []string{"./pkg/cache", "./pkg/manager"},
		// These download kube-apiserver 1.28, whatever KUBEBUILDER_ASSETS is.
		skip: "/aggregatedDiscovery=false",
		known: map[string]string{
			"APIServer argument defaulting when insecure serving is set, on a binary that supports it should set the insecure-port and insecure-bind-address fields from insecureserving": noExecutables,
			"APIServer argument defaulting when insecureserving is disabled, on binaries with no insecure-port flag should not try to explicitly disable the insecure port":               noExecutables,
			"APIServer argument defaulting when insecureserving is disabled, on binaries with an insecure-port flag should explicitly disable the insecure port":                          noExecutables,
		},
	},
	"kro": {
		module:   "github.com/kubernetes-sigs/kro@v0.9.4",
		packages: []string{"./test/integration/suites/core"},
		args: []string{"-ginkgo.focus-file=/crd_test.go", "-ginkgo.focus-file=/status_test.go",
			"-ginkgo.focus-file=/validation_test.go", "-ginkgo.focus-file=/webhook_denial_test.go"},
	},
}

func TestSuites(t *testing.T) {
	if !*someSuites && !*allSuites {
		t.Skip("builds and runs other projects' tests for minutes: -args -suites")
	}
	programs := *assetsDir
	if programs == "" {
		programs = assets(t)
	}
	for name, s := range suites {
		t.Run(name, func(t *testing.T) {
			dir := workspace(t, s.module)
			began := time.Now()
			results := s.run(t, dir, programs)
			t.Logf("all of it: %s, of which some is compilation", time.Since(began).Round(time.Second))
			for _, pkg := range slices.Sorted(maps.Keys(results)) {
				r := results[pkg]
				t.Logf("%s: %d passed, %d failed, %.1f s", pkg, r.passed, len(r.failed), r.seconds)
				if r.passed == 0 {
					t.Errorf("%s: no test has passed:\n%s", pkg, r.tail())
				}
			}
			s.compare(t, results)
		})
	}
}

// compare requires that exactly the known tests fail.
func (s suite) compare(t *testing.T, results map[string]*result) {
	t.Helper()
	left := maps.Clone(s.known)
	for pkg, r := range results {
		unknown := false
		for _, name := range r.failed {
			if reason, ok := s.known[name]; ok {
				t.Logf("%s: %s: failed as expected: %s", pkg, name, reason)
				delete(left, name)
				continue
			}
			t.Errorf("%s: %s: failed", pkg, name)
			unknown = true
		}
		if unknown {
			t.Logf("%s:\n%s", pkg, r.tail())
		}
		if r.listed != r.counted {
			t.Errorf("%s: %d failures are listed, and %d counted:\n%s", pkg, r.listed, r.counted, r.tail())
		}
	}
	for name, reason := range left {
		t.Errorf("%s: passed, and should fail: %s", name, reason)
	}
}

// adopter is a module of this repository that requires controller-runtime for the
// Kubernetes version of the library.
const adopter = "examples/controller-test"

// workspace returns a copy of a module in a workspace with the library and the adopter.
// All are built with the highest required versions, so a suite from before a Kubernetes
// release runs with that release.
func workspace(t *testing.T, module string) string {
	t.Helper()
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if !strings.Contains(module, "@") {
		version, err := command(t, filepath.Join(root, adopter), []string{"GOWORK=off"}, "go", "list", "-m", "-f", "{{.Version}}", module).Output()
		if err != nil {
			t.Fatalf("%s does not require %s: %v", adopter, module, err)
		}
		module += "@" + strings.TrimSpace(string(version))
	}
	t.Log(module)
	var download struct{ Dir, Error string }
	out, err := command(t, dir, []string{"GOWORK=off", "GOFLAGS=-mod=mod"}, "go", "mod", "download", "-json", module).Output()
	if jsonErr := json.Unmarshal(out, &download); err != nil || jsonErr != nil {
		t.Fatalf("go mod download %s: %v: %s", module, err, download.Error)
	}
	suite := filepath.Join(dir, "suite")
	if err := os.CopyFS(suite, os.DirFS(download.Dir)); err != nil {
		t.Fatal(err)
	}
	work := fmt.Sprintf("go 1.26.0\n\nuse (\n\t./suite\n\t%s\n\t%s\n)\n", strconv.Quote(root), strconv.Quote(filepath.Join(root, adopter)))
	if err := os.WriteFile(filepath.Join(dir, "go.work"), []byte(work), 0o600); err != nil {
		t.Fatal(err)
	}
	return suite
}

func command(t *testing.T, dir string, env []string, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

// run runs the suite, and returns the result of each package.
func (s suite) run(t *testing.T, dir, programs string) map[string]*result {
	t.Helper()
	packages, args := s.packages, s.args
	if *allSuites {
		packages, args = slices.Concat(s.packages, s.more), nil
	}
	// The project's own CI also retries tests that depend on timing.
	args = slices.Concat([]string{"test", "-json", "-count=1", "-vet=off", "-p=2", "-timeout=40m", "-skip=" + s.skip}, packages,
		[]string{"-args", "-ginkgo.v", "-ginkgo.no-color", "-ginkgo.flake-attempts=3", "-ginkgo.timeout=39m"}, args)
	if s.skip == "" {
		args = slices.DeleteFunc(args, func(arg string) bool { return arg == "-skip=" })
	}
	env := []string{"GOWORK=" + filepath.Join(filepath.Dir(dir), "go.work"), "KUBEBUILDER_ASSETS=" + programs}
	cmd := command(t, dir, env, "go", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	results := read(stdout)
	err = cmd.Wait()
	if len(results) != len(packages) {
		t.Fatalf("%d packages were tested, not %d: %v\n%s", len(results), len(packages), err, stderr.String())
	}
	return results
}

// result is the result of a package.
type result struct {
	passed int
	failed []string
	// The failures that Ginkgo listed, and the number that it counted.
	listed, counted int
	seconds         float64
	output          []string
	ginkgo          map[string]bool // Go tests that are Ginkgo suites
}

// tail returns the end of the output.
func (r *result) tail() string {
	return strings.Join(r.output[max(0, len(r.output)-80):], "")
}

var (
	// A line of the list at the end: hierarchy, and the spec.
	ginkgoFailure = regexp.MustCompile(`^  \[(?:FAIL|PANICKED!|TIMEDOUT|INTERRUPTED)\] (.*)\n$`)
	// The failed node is not part of the name.
	ginkgoNode  = regexp.MustCompile(`\[(?:It|BeforeEach|JustBeforeEach|AfterEach|JustAfterEach|BeforeAll|AfterAll|DeferCleanup[^\]]*)\] `)
	ginkgoCount = regexp.MustCompile(`-- (\d+) Passed \| (\d+) Failed \|`)
)

// read parses the output of go test -json: Go tests, and Ginkgo specs in them.
func read(stdout io.Reader) map[string]*result {
	results := map[string]*result{}
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var event struct {
			Action, Package, Test, Output string
			Elapsed                       float64
		}
		if json.Unmarshal(lines.Bytes(), &event) != nil || event.Package == "" {
			continue
		}
		r := results[event.Package]
		if r == nil {
			r = &result{ginkgo: map[string]bool{}}
			results[event.Package] = r
		}
		r.add(event.Action, event.Test, event.Output, event.Elapsed)
	}
	return results
}

func (r *result) add(action, test, output string, elapsed float64) {
	switch action {
	case "output":
		r.output = append(r.output, output)
		if m := ginkgoFailure.FindStringSubmatch(output); m != nil {
			r.listed++
			r.failed = append(r.failed, ginkgoNode.ReplaceAllString(m[1], ""))
		}
		if m := ginkgoCount.FindStringSubmatch(output); m != nil {
			passed, _ := strconv.Atoi(m[1])
			failed, _ := strconv.Atoi(m[2])
			r.passed += passed
			r.counted += failed
			r.ginkgo[test] = true
		}
	case "pass":
		if test != "" && !r.ginkgo[test] {
			r.passed++
		}
	case "fail":
		if test != "" && !r.ginkgo[test] {
			r.failed = append(r.failed, test)
		}
		if test == "" && len(r.failed) == 0 {
			r.failed = append(r.failed, "the package")
		}
	}
	if test == "" && elapsed > 0 {
		r.seconds = elapsed
	}
}
