package outside_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// forbidden are packages that no user of the library may have to link: folders,
// with what is below them.
var forbidden = []string{
	"github.com/kubembed/kubembed/examples",
	"github.com/kubembed/kubembed/internal/e2e",
	"k8s.io/kubectl/pkg/cmd",
	"k8s.io/kubernetes/cmd",
	"k8s.io/kubernetes/pkg/kubelet",
	"k8s.io/kubernetes/pkg/kubemark",
	"k8s.io/kubernetes/test",
	"testing", // registers flags
}

// allowed are exceptions, for upstream's API server proxies to kubelets.
var allowed = []string{
	"k8s.io/kubernetes/pkg/kubelet/client",
	"k8s.io/kubernetes/pkg/kubelet/events",
	"k8s.io/kubernetes/pkg/kubelet/server/metrics",
	"k8s.io/kubernetes/pkg/kubelet/util/format",
}

func TestLibraryLinksNothingForbidden(t *testing.T) {
	importers := map[string][]string{}
	var linked []string
	for line := range strings.Lines(goCommand(t, checkout(t), nil, "list", "-deps", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./pkg/...")) {
		fields := strings.Fields(line)
		linked = append(linked, fields[0])
		for _, imported := range fields[1:] {
			importers[imported] = append(importers[imported], fields[0])
		}
	}
	if !slices.Contains(linked, "k8s.io/apiserver/pkg/server") {
		t.Fatalf("the list is not that of the library: %q", linked)
	}
	for _, name := range linked {
		if slices.ContainsFunc(forbidden, func(folder string) bool { return below(name, folder) }) && !slices.Contains(allowed, name) {
			t.Errorf("%s is linked, because of %s", name, strings.Join(importers[name], ", "))
		}
	}
}

func below(name, folder string) bool { return name == folder || strings.HasPrefix(name, folder+"/") }

func TestBelow(t *testing.T) {
	for name, want := range map[string]bool{"testing": true, "testing/fstest": true, "testings": false, "a/testing": false} {
		if below(name, "testing") != want {
			t.Error(name, !want)
		}
	}
}

// checkout is the root folder of the module.
func checkout(t *testing.T) string {
	t.Helper()
	gomod := strings.TrimSpace(goCommand(t, ".", nil, "env", "GOMOD"))
	if filepath.Base(gomod) != "go.mod" {
		t.Fatalf("not in a module: GOMOD=%s", gomod)
	}
	return filepath.Dir(gomod)
}

// goCommand runs the go command in a folder, outside any workspace.
func goCommand(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "GOWORK=off"), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}
