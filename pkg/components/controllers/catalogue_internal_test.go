// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/featuregate"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	kubectrlmgrconfig "k8s.io/kubernetes/pkg/controller/apis/config"
	"k8s.io/kubernetes/pkg/features"
)

// descriptor is a controller descriptor in upstream's source.
type descriptor struct {
	name           string
	aliases, gates []string
	offByDefault   bool
}

// TestCatalogueIsUpstreams fails for a release of upstream with another controller, name,
// alias, feature gate or default.
func TestCatalogueIsUpstreams(t *testing.T) {
	found := upstreamDescriptors(t)
	if len(found) < 45 {
		t.Fatalf("only %d controllers found in upstream's source", len(found))
	}
	ours := map[string]controller{}
	for _, c := range catalogue() {
		ours[c.name] = c
	}
	for _, d := range found {
		if _, err := canonical(d.name); err != nil && strings.Contains(err.Error(), "no such controller") {
			t.Errorf("upstream's %s is neither in the catalogue nor built in", d.name)
		}
		for _, alias := range d.aliases {
			if _, err := canonical(alias); err != nil && strings.Contains(err.Error(), "no such controller") {
				t.Errorf("upstream's alias %s of %s is not known", alias, d.name)
			}
		}
		c, ok := ours[d.name]
		if !ok {
			continue
		}
		delete(ours, d.name)
		if !slices.Equal(c.aliases, d.aliases) || c.offByDefault != d.offByDefault {
			t.Errorf("%s: the catalogue has %+v, upstream %+v", d.name, c, d)
		}
		// The source has the variables, which are named like the gates.
		var gates []string
		for _, gate := range c.gates {
			gates = append(gates, string(gate))
		}
		if !slices.Equal(gates, d.gates) {
			t.Errorf("%s: feature gates %q, upstream %q", d.name, gates, d.gates)
		}
	}
	for name := range ours {
		t.Errorf("upstream has no controller %s", name)
	}
	for _, name := range builtIn {
		if !slices.ContainsFunc(found, func(d descriptor) bool { return d.name == name || slices.Contains(d.aliases, name) }) {
			t.Errorf("upstream has no controller or alias %s", name)
		}
	}
}

// upstreamDescriptors parses upstream's source: the package cannot be imported.
func upstreamDescriptors(t *testing.T) (found []descriptor) {
	t.Helper()
	names := map[string]string{}
	for _, path := range []string{"k8s.io/kubernetes/cmd/kube-controller-manager/names", "k8s.io/cloud-provider/names"} {
		parse(t, path, func(node ast.Node) {
			if spec, ok := node.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
				if text, ok := spec.Values[0].(*ast.BasicLit); ok {
					names[spec.Names[0].Name], _ = strconv.Unquote(text.Value)
				}
			}
		})
	}
	parse(t, "k8s.io/kubernetes/cmd/kube-controller-manager/app", func(node ast.Node) {
		literal, ok := node.(*ast.CompositeLit)
		if !ok {
			return
		}
		if kind, ok := literal.Type.(*ast.Ident); !ok || kind.Name != "ControllerDescriptor" {
			return
		}
		var d descriptor
		for _, element := range literal.Elts {
			field := element.(*ast.KeyValueExpr)
			switch field.Key.(*ast.Ident).Name {
			case "name":
				d.name = names[field.Value.(*ast.SelectorExpr).Sel.Name]
			case "aliases":
				for _, alias := range field.Value.(*ast.CompositeLit).Elts {
					text, _ := strconv.Unquote(alias.(*ast.BasicLit).Value)
					d.aliases = append(d.aliases, text)
				}
			case "requiredFeatureGates":
				for _, gate := range field.Value.(*ast.CompositeLit).Elts {
					d.gates = append(d.gates, gate.(*ast.SelectorExpr).Sel.Name)
				}
			case "isDisabledByDefault":
				d.offByDefault = true
			}
		}
		found = append(found, d)
	})
	return found
}

func parse(t *testing.T, path string, visit func(ast.Node)) {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(path, files, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(node ast.Node) bool { visit(node); return true })
	}
}

// TestReadsMatchCaches: with a resource missing in reads, no controller gets ready if it
// is disabled. With one too many, the controller is skipped.
func TestReadsMatchCaches(t *testing.T) {
	settings, err := Config{PodCIDR: "10.244.0.0/16"}.clone().settings()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("by default", func(t *testing.T) { testReads(t, settings) })
	// One more gate at a time, because an informer can depend on any of them.
	for _, gate := range []featuregate.Feature{
		features.GenericWorkload, features.WorkloadWithJob, features.DRAWorkloadResourceClaims, features.DRAResourcePoolStatus,
	} {
		featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, gate, true)
		t.Run("with "+string(gate), func(t *testing.T) { testReads(t, settings) })
	}
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.DRADeviceTaintRules, false)
	t.Run("without "+string(features.DRADeviceTaintRules), func(t *testing.T) { testReads(t, settings) })
}

func testReads(t *testing.T, settings *kubectrlmgrconfig.KubeControllerManagerConfiguration) {
	for _, c := range catalogue() {
		t.Run(c.name, func(t *testing.T) {
			if c.name == nodeIPAM {
				t.Skip("asks the API server when it is made")
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			e, err := newEnvironment(ctx, settings, &rest.Config{Host: "http://127.0.0.1:1", QPS: -1})
			if err != nil {
				t.Fatal(err)
			}
			loop, err := c.build(ctx, e)
			if err != nil {
				t.Fatal(err)
			}
			// An ended context: the factory only lists its informers.
			cancel()
			e.informers.StartWithContext(ctx)
			var asked []string
			for kind := range e.informers.WaitForCacheSyncWithContext(ctx).Synced {
				asked = append(asked, resourceOf(t, kind))
			}
			e.informers.Shutdown()
			loop(ctx)
			want := c.caches()
			slices.Sort(asked)
			slices.Sort(want)
			if !slices.Equal(asked, want) {
				t.Errorf("reads:\n%q\ncaches:\n%q", want, asked)
			}
		})
	}
}

func resourceOf(t *testing.T, kind reflect.Type) string {
	t.Helper()
	kinds, _, err := clientgoscheme.Scheme.ObjectKinds(reflect.New(kind.Elem()).Interface().(runtime.Object))
	if err != nil {
		t.Fatal(err)
	}
	resource, _ := meta.UnsafeGuessKindToResource(kinds[0])
	return resource.GroupVersion().String() + "/" + resource.Resource
}
