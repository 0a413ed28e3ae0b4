// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package outside_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// servers are directories that no test with clientModule links: it has client-go and
// client-go's dependencies.
var servers = []string{
	"github.com/kubembed/kubembed/internal",
	"github.com/kubembed/kubembed/pkg/apiserver",
	"github.com/kubembed/kubembed/pkg/controlplane",
	"github.com/kubembed/kubembed/pkg/etcd",
	"go.etcd.io",
	"google.golang.org/grpc",
	"k8s.io/apiextensions-apiserver/pkg/apiserver",
	"k8s.io/apiserver",
	"k8s.io/component-base",
	"k8s.io/kube-aggregator/pkg/apiserver",
	"k8s.io/kubernetes",
	"testing", // registers flags
}

// TestPoolLinksNoServer looks at the packages of clientModule with its own versions, and
// with the versions of the workspace.
func TestPoolLinksNoServer(t *testing.T) {
	for name, env := range map[string][]string{"module": nil, "workspace": {"GOWORK="}} {
		t.Run(name, func(t *testing.T) {
			imports := poolImports(t, env)
			for imported := range imports {
				if slices.ContainsFunc(servers, func(directory string) bool { return below(imported, directory) }) {
					t.Errorf("%s is linked: %s", imported, strings.Join(chain(imports, imported), " imports "))
				}
			}
			if _, ok := imports["k8s.io/client-go/kubernetes"]; !ok {
				t.Errorf("the list is not that of %s: %d packages", clientModule, len(imports))
			}
		})
	}
}

// poolImports returns the packages that the fixture links, with their imports.
func poolImports(t *testing.T, env []string) map[string][]string {
	t.Helper()
	imports := map[string][]string{}
	list := goCommand(t, filepath.Join(checkout(t), "pkg", "pool"), env, "list", "-deps", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./controlplanetest")
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		imports[fields[0]] = fields[1:]
	}
	return imports
}

// chain returns the shortest way from a package of clientModule to another package.
func chain(imports map[string][]string, to string) []string {
	before := map[string]string{}
	var next []string
	for name := range imports {
		if below(name, clientModule) {
			next, before[name] = append(next, name), ""
		}
	}
	slices.Sort(next)
	for ; len(next) > 0; next = next[1:] {
		if next[0] == to {
			break
		}
		for _, name := range imports[next[0]] {
			if _, seen := before[name]; !seen {
				next, before[name] = append(next, name), next[0]
			}
		}
	}
	var names []string
	for name := to; name != ""; name = before[name] {
		names = append(names, name)
	}
	slices.Reverse(names)
	return names
}

func TestChain(t *testing.T) {
	own := clientModule + "/controlplanetest"
	imports := map[string][]string{own: {"a", "b"}, "a": {"c"}, "b": {"d"}, "c": {"d"}, "d": nil}
	if got := strings.Join(chain(imports, "d"), " "); got != own+" b d" {
		t.Error(got)
	}
}

// TestPoolRequiresTheOldestKubernetes: a project with a later Kubernetes keeps its
// versions, and one with an earlier version than this cannot use the module.
func TestPoolRequiresTheOldestKubernetes(t *testing.T) {
	var mod struct {
		Go               string
		Require          []struct{ Path, Version string }
		Replace, Exclude []any
	}
	if err := json.Unmarshal([]byte(goCommand(t, filepath.Join(checkout(t), "pkg", "pool"), nil, "mod", "edit", "-json")), &mod); err != nil {
		t.Fatal(err)
	}
	if mod.Go != "1.24.0" {
		t.Errorf("go %s, want 1.24.0, that of client-go v0.34", mod.Go)
	}
	if len(mod.Replace)+len(mod.Exclude) > 0 {
		t.Errorf("go.mod has directives that users do not get: %v %v", mod.Replace, mod.Exclude)
	}
	staged := 0
	for _, required := range mod.Require {
		if strings.HasPrefix(required.Path, "k8s.io/") && strings.HasPrefix(required.Version, "v0.") && !strings.HasPrefix(required.Version, "v0.0.") {
			staged++
			if required.Version != "v0.34.0" {
				t.Errorf("%s %s, want v0.34.0", required.Path, required.Version)
			}
		}
		if required.Path == library {
			t.Errorf("the module requires %s", library)
		}
	}
	if staged < 3 {
		t.Errorf("go.mod requires only %d modules of Kubernetes", staged)
	}
}
