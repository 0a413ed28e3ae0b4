// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// structs are the fields and methods of the types of a package, with the name of a
// field's type where that is of a package here.
type structs map[string]map[string]string

// ownValues are fields of apiserver.Config whose values are this package's own: its user
// cannot cause errors about them.
var ownValues = map[string]bool{
	"Config.Dial": true, "Config.InsecureListener": true, "Config.Metrics": true, "Config.ReadyzChecks": true, "Config.Transformers": true,
}

// TestTextsNameFieldsThatExist reads the errors and comments of the public packages. An
// error of a standalone member once named Config.Cluster, which Config of this package
// does not have.
func TestTextsNameFieldsThatExist(t *testing.T) {
	packages, texts := map[string]structs{}, map[string][]text{}
	for _, dir := range []string{".", "../etcd", "../pki", "../apiserver", "../controlplanetest"} {
		name, types, found := readTexts(t, dir)
		packages[name], texts[name] = types, found
	}
	checked := 0
	check := func(in string, from text, value string) {
		for _, match := range fieldName.FindAllStringSubmatch(value, -1) {
			pkg := in
			if match[1] != "" {
				pkg = strings.TrimSuffix(match[1], ".")
			}
			types, known := packages[pkg]
			if !known || types[match[2]] == nil {
				continue // of upstream
			}
			checked++
			if missing := lacksField(packages, pkg, match[2], match[3]); missing != "" && !(in == "controlplane" && pkg == in && ownValues[match[0]]) {
				t.Errorf("%s: %q names %s, and %s has no field %s", from.at, value, match[0], match[2], missing)
			}
		}
	}
	for name, found := range texts {
		for _, from := range found {
			if from.at.Filename == "store.go" {
				continue // the names of other packages
			}
			check(name, from, from.value)
			if from.comment {
				continue
			}
			// As the user of a control plane sees it.
			switch name {
			case "etcd":
				check("controlplane", from, renamed(from.value, etcdFields))
			case "apiserver":
				check("controlplane", from, renamed(from.value, apiserverFields))
			}
		}
	}
	if checked < 100 {
		t.Errorf("names found: got %d, want at least 100", checked)
	}
}

// TestTextsHaveNoFields reads the errors and log lines that the user of a control plane
// sees. Their fields are arguments and not words of the text, so that a program can name
// them as its own users know them.
func TestTextsHaveNoFields(t *testing.T) {
	dirs := []string{".", "../etcd", "../pki", "../apiserver"}
	for _, root := range []string{"../../internal/controlplane", "../../internal/etcd"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	paths := 0
	for _, dir := range dirs {
		_, _, found := readTexts(t, dir)
		for _, from := range found {
			name := fieldName.FindString(from.value)
			switch {
			case from.comment, name == "", strings.HasPrefix(from.value, "Number of"): // a metric
			case name == strings.TrimSuffix(from.value, "."): // a dot for a whole struct
				paths++
			default:
				t.Errorf("%s: %q names %s: make it an argument, a fieldpath.Name", from.at, from.value, name)
			}
		}
	}
	if paths < 50 {
		t.Errorf("fields as arguments: got %d, want at least 50", paths)
	}
}

// renamed is a text as the user of a control plane sees it.
func renamed(text string, names fieldpath.Names) string {
	return fieldName.ReplaceAllStringFunc(text, names.Rename)
}

// fieldName matches Config.Etcd.Name and etcd.Config.Dir.
var fieldName = regexp.MustCompile(`\b([a-z]+\.)?(\w*Config|KubeconfigOptions)\.([A-Z]\w*(?:\.[A-Z]\w*)*)`)

// lacksField returns the first name of path that is no field.
func lacksField(packages map[string]structs, pkg, kind, path string) string {
	for name := range strings.SplitSeq(path, ".") {
		members := packages[pkg][kind]
		if members == nil {
			return "" // of an upstream type
		}
		next, ok := members[name]
		if !ok {
			return name
		}
		if other, local, qualified := strings.Cut(next, "."); qualified {
			pkg, next = other, local
		}
		kind = next
	}
	return ""
}

// text is a string or a comment.
type text struct {
	value   string
	comment bool
	at      token.Position
}

func readTexts(t *testing.T, dir string) (name string, types structs, found []text) {
	t.Helper()
	types = structs{}
	member := func(kind, name, typeName string) {
		if types[kind] == nil {
			types[kind] = map[string]string{}
		}
		types[kind][name] = typeName
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		name = file.Name.Name
		for _, comment := range file.Comments {
			found = append(found, text{comment.Text(), true, set.Position(comment.Pos())})
		}
		ast.Inspect(file, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.BasicLit:
				if value, err := strconv.Unquote(node.Value); err == nil && node.Kind == token.STRING {
					found = append(found, text{value, false, set.Position(node.Pos())})
				}
			case *ast.TypeSpec:
				if s, ok := node.Type.(*ast.StructType); ok {
					for _, field := range s.Fields.List {
						names := field.Names
						if len(names) == 0 {
							names = []*ast.Ident{{Name: typeName(field.Type)}}
						}
						for _, n := range names {
							member(node.Name.Name, n.Name, typeName(field.Type))
						}
					}
				}
			case *ast.FuncDecl:
				if node.Recv != nil {
					member(strings.TrimPrefix(typeName(node.Recv.List[0].Type), "*"), node.Name.Name, "")
				}
			}
			return true
		})
	}
	return name, types, found
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.SelectorExpr:
		return typeName(e.X) + "." + e.Sel.Name
	}
	return ""
}
