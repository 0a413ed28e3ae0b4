// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package outside_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// forbidden are packages that no user of the library may have to link: directories with
// their subdirectories.
var forbidden = []string{
	"github.com/kubembed/kubembed/examples",
	"github.com/kubembed/kubembed/internal/e2e",
	"k8s.io/kubectl/pkg/cmd",
	"k8s.io/kubernetes/cmd",
	"k8s.io/kubernetes/pkg/kubemark",
	"k8s.io/kubernetes/test",
	"testing", // registers flags
}

// optional are directories that are linked only if a component is imported.
var optional = []string{
	"github.com/kubembed/kubembed/pkg/components",
	"k8s.io/kubernetes/pkg/controller",
	"k8s.io/kubernetes/pkg/kubelet",
	"k8s.io/kubernetes/pkg/scheduler",
}

// core are exceptions that every control plane links.
var core = []string{
	"k8s.io/kubernetes/pkg/controller",
	"k8s.io/kubernetes/pkg/controller/bootstrap",
	"k8s.io/kubernetes/pkg/controller/certificates",
	"k8s.io/kubernetes/pkg/controller/certificates/approver",
	"k8s.io/kubernetes/pkg/controller/certificates/authority",
	"k8s.io/kubernetes/pkg/controller/certificates/cleaner",
	"k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher",
	"k8s.io/kubernetes/pkg/controller/clusterroleaggregation",
	"k8s.io/kubernetes/pkg/controller/garbagecollector",
	"k8s.io/kubernetes/pkg/controller/garbagecollector/metaonly",
	"k8s.io/kubernetes/pkg/controller/garbagecollector/metrics",
	"k8s.io/kubernetes/pkg/controller/namespace/deletion",
	"k8s.io/kubernetes/pkg/controller/resourcequota",
	"k8s.io/kubernetes/pkg/controller/serviceaccount",
	"k8s.io/kubernetes/pkg/controller/storageversionmigrator",
	// Upstream's API server imports these for the Service kubernetes,
	"k8s.io/kubernetes/pkg/controller/endpoint",
	"k8s.io/kubernetes/pkg/controller/endpointslice",
	"k8s.io/kubernetes/pkg/controller/endpointslicemirroring",
	"k8s.io/kubernetes/pkg/controller/endpointslicemirroring/metrics",
	"k8s.io/kubernetes/pkg/controller/util/endpointslice",
	// these to proxy to kubelets,
	"k8s.io/kubernetes/pkg/kubelet/client",
	"k8s.io/kubernetes/pkg/kubelet/events",
	"k8s.io/kubernetes/pkg/kubelet/server/metrics",
	"k8s.io/kubernetes/pkg/kubelet/util/format",
	// and these to validate.
	"k8s.io/kubernetes/pkg/scheduler/apis/config",
	"k8s.io/kubernetes/pkg/scheduler/util",
}

// configuration reports whether a package has only configuration types, which the
// garbage collector imports for every controller.
func configuration(name string) bool {
	directory := "k8s.io/kubernetes/pkg/controller"
	return below(name, directory+"/apis") || below(name, directory) && (strings.HasSuffix(name, "/config") || strings.HasSuffix(name, "/config/v1alpha1"))
}

func TestLibraryLinksNothingForbidden(t *testing.T) {
	linked, importers := dependencies(t, "./pkg/...")
	for _, name := range linked {
		if slices.ContainsFunc(forbidden, func(directory string) bool { return below(name, directory) }) {
			t.Errorf("%s is linked, because of %s", name, strings.Join(importers[name], ", "))
		}
	}
}

// TestComponentsAreOptional: a program that imports no component links no code of one.
func TestComponentsAreOptional(t *testing.T) {
	linked, importers := dependencies(t, "./pkg/controlplane", "./pkg/apiserver", "./pkg/etcd", "./pkg/pki")
	for _, name := range linked {
		if slices.ContainsFunc(optional, func(directory string) bool { return below(name, directory) }) &&
			!slices.Contains(core, name) && !configuration(name) {
			t.Errorf("%s is linked, because of %s", name, strings.Join(importers[name], ", "))
		}
	}
	for _, name := range core {
		if !slices.Contains(linked, name) {
			t.Errorf("%s is not linked: the exception can go", name)
		}
	}
}

// dependencies returns the linked packages, and their importers.
func dependencies(t *testing.T, packages ...string) (linked []string, importers map[string][]string) {
	t.Helper()
	importers = map[string][]string{}
	args := append([]string{"list", "-deps", "-f", "{{.ImportPath}} {{join .Imports \" \"}}"}, packages...)
	for line := range strings.Lines(goCommand(t, checkout(t), nil, args...)) {
		fields := strings.Fields(line)
		linked = append(linked, fields[0])
		for _, imported := range fields[1:] {
			importers[imported] = append(importers[imported], fields[0])
		}
	}
	if !slices.Contains(linked, "k8s.io/apiserver/pkg/server") {
		t.Fatalf("the list is not that of the library: %q", linked)
	}
	return linked, importers
}

func below(name, directory string) bool {
	return name == directory || strings.HasPrefix(name, directory+"/")
}

func TestBelow(t *testing.T) {
	for name, want := range map[string]bool{"testing": true, "testing/fstest": true, "testings": false, "a/testing": false} {
		if below(name, "testing") != want {
			t.Error(name, !want)
		}
	}
}

// checkout returns the root directory of the module.
func checkout(t *testing.T) string {
	t.Helper()
	gomod := strings.TrimSpace(goCommand(t, ".", nil, "env", "GOMOD"))
	if filepath.Base(gomod) != "go.mod" {
		t.Fatalf("not in a module: GOMOD=%s", gomod)
	}
	return filepath.Dir(gomod)
}

// goCommand runs the go command in a directory, outside any workspace.
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
