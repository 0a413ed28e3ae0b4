// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// differ are the exported names that one fixture alone has, or that differ in type, with
// the reason. Everything else is the same: a test moves from the one to the other by its
// import.
var differ = map[string]string{
	"Config.ControlPlane":       "controlplane.Config has Go values that cannot cross to another process",
	"type ControlPlaneConfig":   "the fields of controlplane.Config that can",
	"ControlPlaneConfig.*":      "the same",
	"Config.Program":            "there is no program in the process",
	"Config.Modfile":            "the same",
	"Config.Idle":               "the same",
	"type AuditEvent":           "auditv1.Event is in k8s.io/apiserver: the type has the fields that tests use, with the same names",
	"AuditEvent.*":              "the same",
	"type AuditObjectReference": "the same",
	"AuditObjectReference.*":    "the same",

	"ControlPlane.ServingCertificate":     "pki.KeyPair is in a package of the server: KeyPair has the same fields and methods",
	"ControlPlane.NodeServingCertificate": "the same",
	"type KeyPair":                        "the same",
	"KeyPair.*":                           "the same",

	"ControlPlane.Metrics":                "of the process that serves, in prometheus's types",
	"ControlPlane.EtcdStatus":             "of etcd, in its types",
	"ControlPlane.Members":                "the same",
	"ControlPlane.Reencrypt":              "needs Config.ControlPlane.Encryption",
	"ControlPlane.InsecureURL":            "needs Config.ControlPlane.InsecureBindAddress",
	"ControlPlane.KubeletServingCABundle": "for a host that serves kubelets itself",
	"ControlPlane.PKI":                    "private keys of the server stay in its process",
	"ControlPlane.NewKubeconfig":          "takes controlplane.KubeconfigOptions",
	"ControlPlane.TakeSnapshot":           "needs Config.ControlPlane.Snapshots; Snapshot works",
	"ControlPlane.WriteSnapshot":          "writes a file of the process that serves; Snapshot works",
}

// TestSameAPI: both fixtures export the same names with the same signatures, but for
// those in differ.
func TestSameAPI(t *testing.T) {
	here, pooled := api(t, "../../"+copies[0].from), api(t, "../../"+copies[0].to)
	if len(here) < 80 {
		t.Fatalf("the fixture has %d exported names", len(here))
	}
	unused := maps.Clone(differ)
	names := slices.Concat(slices.Collect(maps.Keys(here)), slices.Collect(maps.Keys(pooled)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if here[name] == pooled[name] {
			continue
		}
		all := strings.Split(name, ".")[0] + ".*"
		_, named := differ[name]
		_, of := differ[all]
		delete(unused, name)
		delete(unused, all)
		if !named && !of {
			t.Errorf("%s\n\tin %s: %s\n\tin %s: %s", name, copies[0].from, here[name], copies[0].to, pooled[name])
		}
	}
	for name := range unused {
		t.Errorf("%s does not differ: remove it from differ", name)
	}
	for name, reason := range differ {
		if reason == "" {
			t.Errorf("%s has no reason", name)
		}
	}
}

// api returns what a package exports: functions and methods with their signatures, types,
// fields, constants and variables.
func api(t *testing.T, dir string) map[string]string {
	t.Helper()
	names := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if path.Ext(entry.Name()) != ".go" || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, entry.Name()), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		qualify(t, file)
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				addFunc(names, decl)
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					addSpec(names, spec)
				}
			}
		}
	}
	return names
}

// qualify replaces the names of imported packages by their paths.
func qualify(t *testing.T, file *ast.File) {
	t.Helper()
	paths := map[string]string{}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		name := path.Base(imported)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		paths[name] = imported
	}
	ast.Inspect(file, func(node ast.Node) bool {
		if selector, ok := node.(*ast.SelectorExpr); ok {
			if x, ok := selector.X.(*ast.Ident); ok && paths[x.Name] != "" {
				x.Name = paths[x.Name]
			}
		}
		return true
	})
}

func addFunc(names map[string]string, decl *ast.FuncDecl) {
	name := decl.Name.Name
	if !ast.IsExported(name) {
		return
	}
	if decl.Recv != nil {
		receiver := strings.TrimPrefix(types.ExprString(decl.Recv.List[0].Type), "*")
		if !ast.IsExported(receiver) {
			return
		}
		name = receiver + "." + name
	}
	names[name] = types.ExprString(decl.Type)
}

func addSpec(names map[string]string, spec ast.Spec) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			if name.IsExported() {
				names[name.Name] = "value"
			}
		}
	case *ast.TypeSpec:
		if !spec.Name.IsExported() {
			return
		}
		name := spec.Name.Name
		switch typ := spec.Type.(type) {
		case *ast.StructType:
			names["type "+name] = "struct"
			addFields(names, name, typ.Fields)
		case *ast.InterfaceType:
			names["type "+name] = "interface"
			addFields(names, name, typ.Methods)
		default:
			names["type "+name] = types.ExprString(typ)
		}
	}
}

func addFields(names map[string]string, typ string, fields *ast.FieldList) {
	for _, field := range fields.List {
		text := types.ExprString(field.Type)
		for _, name := range field.Names {
			if name.IsExported() {
				names[typ+"."+name.Name] = text
			}
		}
		if len(field.Names) == 0 {
			names[typ+"."+text] = "embedded"
		}
	}
}
