// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// directories returns the directory of every package, with one call of the go command
// from dir. A package that no longer exists is not in the map.
func directories(dir string, packages []string) (map[string]string, error) {
	arguments := append([]string{"list", "-e", "-find", "-f", "{{.ImportPath}}\t{{.Dir}}"}, packages...)
	command := exec.Command("go", arguments...)
	command.Dir = dir
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, &stderr)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, directory, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if directory != "" {
			found[path] = directory
		}
	}
	return found, nil
}

// source is the parsed source of a directory or of one file, without comments.
type source struct {
	fset  *token.FileSet
	files []*ast.File
}

// parseDirectory parses all Go files of a directory but its tests, for all platforms.
func parseDirectory(dir string) (*source, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	parsed := &source{fset: token.NewFileSet()}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		if err := parsed.add(path); err != nil {
			return nil, err
		}
	}
	if len(parsed.files) == 0 {
		return nil, fmt.Errorf("%s has no Go files", dir)
	}
	return parsed, nil
}

// parseFile parses one file.
func parseFile(path string) (*source, error) {
	parsed := &source{fset: token.NewFileSet()}
	return parsed, parsed.add(path)
}

func (s *source) add(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(s.fset, path, content, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	s.files = append(s.files, file)
	return nil
}

var errNoDeclaration = errors.New("has no such declaration")

// find returns the nodes of the declaration. There are several if platforms have their
// own.
func (s *source) find(decl string) ([]ast.Node, error) {
	var found []ast.Node
	for _, file := range s.files {
		if decl == "" || filepath.Base(s.fset.Position(file.Package).Filename) == decl {
			found = append(found, file)
			continue
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if nameOf(d) == decl {
					found = append(found, d)
				}
			case *ast.GenDecl:
				found = append(found, inGroup(d, decl)...)
			}
		}
	}
	if len(found) == 0 {
		return nil, errNoDeclaration
	}
	return found, nil
}

// users returns the names of the declarations that use an identifier.
func (s *source) users(identifier string) []string {
	var found []string
	for _, file := range s.files {
		for _, d := range file.Decls {
			for _, user := range declaring(d, func(n ast.Node) bool {
				name, ok := n.(*ast.Ident)
				return ok && name.Name == identifier
			}) {
				if !slices.Contains(found, user) {
					found = append(found, user)
				}
			}
		}
	}
	return found
}

// declaring returns the names of a declaration's functions, variables and constants whose
// bodies or values contain a matching node.
func declaring(d ast.Decl, is func(ast.Node) bool) []string {
	if f, ok := d.(*ast.FuncDecl); ok {
		if f.Body != nil && contains(f.Body, is) {
			return []string{nameOf(f)}
		}
		return nil
	}
	group, ok := d.(*ast.GenDecl)
	if !ok {
		return nil
	}
	var found []string
	for _, spec := range group.Specs {
		values, ok := spec.(*ast.ValueSpec)
		if !ok {
			continue
		}
		for _, value := range values.Values {
			if contains(value, is) {
				found = append(found, values.Names[0].Name)
			}
		}
	}
	return found
}

func contains(node ast.Node, is func(ast.Node) bool) (found bool) {
	ast.Inspect(node, func(n ast.Node) bool {
		found = found || n != nil && is(n)
		return !found
	})
	return found
}

// nameOf returns Func, T.Method or (*T).Method.
func nameOf(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	receiver := f.Recv.List[0].Type
	pointer, isPointer := receiver.(*ast.StarExpr)
	if isPointer {
		receiver = pointer.X
	}
	switch generic := receiver.(type) {
	case *ast.IndexExpr:
		receiver = generic.X
	case *ast.IndexListExpr:
		receiver = generic.X
	}
	name := receiver.(*ast.Ident).Name
	if isPointer {
		name = "(*" + name + ")"
	}
	return name + "." + f.Name.Name
}

// inGroup finds a type, a member of a type, a variable or a constant.
func inGroup(group *ast.GenDecl, decl string) []ast.Node {
	var found []ast.Node
	for _, spec := range group.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.Name == decl {
				found = append(found, spec)
			} else if member, ok := strings.CutPrefix(decl, spec.Name.Name+"."); ok {
				found = append(found, membersOf(spec, member)...)
			}
		case *ast.ValueSpec:
			for _, name := range spec.Names {
				if name.Name != decl {
					continue
				}
				if len(spec.Values) == 0 && group.Tok == token.CONST {
					found = append(found, group) // its value comes from the lines before
				} else {
					found = append(found, spec)
				}
			}
		}
	}
	return found
}

func membersOf(spec *ast.TypeSpec, member string) []ast.Node {
	var list *ast.FieldList
	switch t := spec.Type.(type) {
	case *ast.StructType:
		list = t.Fields
	case *ast.InterfaceType:
		list = t.Methods
	default:
		return nil
	}
	var found []ast.Node
	for _, field := range list.List {
		for _, name := range namesOf(field) {
			if name == member {
				found = append(found, field)
			}
		}
	}
	return found
}

// namesOf returns the names of a field; an embedded one has the name of its type.
func namesOf(field *ast.Field) []string {
	var names []string
	for _, name := range field.Names {
		names = append(names, name.Name)
	}
	if len(names) > 0 {
		return names
	}
	t := field.Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.SelectorExpr:
			return []string{x.Sel.Name}
		case *ast.Ident:
			return []string{x.Name}
		default:
			return nil
		}
	}
}

// fieldsOf returns the names of all fields of the struct types among the nodes.
func fieldsOf(nodes []ast.Node) ([]string, error) {
	var names []string
	for _, node := range nodes {
		spec, ok := node.(*ast.TypeSpec)
		if !ok {
			return nil, errors.New("is not a type")
		}
		structure, ok := spec.Type.(*ast.StructType)
		if !ok {
			return nil, errors.New("is not a struct")
		}
		for _, field := range structure.Fields.List {
			names = append(names, namesOf(field)...)
		}
	}
	return names, nil
}

// text returns the source of the nodes without comments and white space.
func (s *source) text(nodes []ast.Node) (string, error) {
	var b bytes.Buffer
	for _, node := range nodes {
		var err error
		if field, ok := node.(*ast.Field); ok {
			err = s.printField(&b, field)
		} else {
			err = printer.Fprint(&b, s.fset, node)
		}
		if err != nil {
			return "", err
		}
	}
	return squeeze(b.String()), nil
}

// printField prints a field or a method of an interface, which the printer cannot print
// by itself.
func (s *source) printField(b *bytes.Buffer, field *ast.Field) error {
	b.WriteString(strings.Join(namesOf(field), ","))
	if err := printer.Fprint(b, s.fset, field.Type); err != nil {
		return err
	}
	if field.Tag != nil {
		b.WriteString(field.Tag.Value)
	}
	return nil
}

// squeeze removes white space.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
