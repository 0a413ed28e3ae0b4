// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
)

// TestPriorities compares kubePriorities with upstream's table, in its source: nothing
// exports it.
func TestPriorities(t *testing.T) {
	theirs := map[schema.GroupVersion]controlplaneapiserver.APIServicePriority{}
	const path = "k8s.io/kubernetes/cmd/kube-apiserver/app"
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-find", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "aggregator.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || spec.Names[0].Name != "apiVersionPriorities" {
			return true
		}
		call, ok := spec.Values[0].(*ast.CallExpr)
		if !ok || len(call.Args) != 2 {
			t.Fatal("apiVersionPriorities is no longer a call of merge with a table: read how upstream makes it, and make GroupPriorities so")
		}
		for _, row := range call.Args[1].(*ast.CompositeLit).Elts {
			pair := row.(*ast.KeyValueExpr)
			gv, priority := literals(t, pair.Key), literals(t, pair.Value)
			theirs[schema.GroupVersion{Group: gv["Group"], Version: gv["Version"]}] = controlplaneapiserver.APIServicePriority{
				Group: number(t, priority["Group"]), Version: number(t, priority["Version"]),
			}
		}
		return false
	})
	if len(theirs) == 0 {
		t.Fatalf("%s has no apiVersionPriorities: find where upstream has the priorities of the groups that only kube-apiserver serves", path)
	}
	for gv, priority := range theirs {
		if ours, found := kubePriorities[gv]; !found || ours != priority {
			t.Errorf("%s is %+v in upstream and %+v (%t) in kubePriorities: copy it, or the aggregator does not serve the version", gv, priority, ours, found)
		}
	}
	for gv := range maps.Keys(kubePriorities) {
		if _, found := theirs[gv]; !found {
			t.Errorf("%s is no longer in upstream: take it out of kubePriorities", gv)
		}
	}
}

func literals(t *testing.T, e ast.Expr) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for _, element := range e.(*ast.CompositeLit).Elts {
		pair := element.(*ast.KeyValueExpr)
		value := pair.Value.(*ast.BasicLit)
		text := value.Value
		if value.Kind == token.STRING {
			var err error
			if text, err = strconv.Unquote(text); err != nil {
				t.Fatal(err)
			}
		}
		fields[pair.Key.(*ast.Ident).Name] = text
	}
	return fields
}

func number(t *testing.T, text string) int32 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return int32(n)
}
