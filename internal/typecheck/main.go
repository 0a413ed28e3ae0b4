// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// The program typecheck type-checks packages of this repository with the versions in
// go.mod, and prints every error:
//
//	go run ./internal/typecheck ./... ./internal/e2e/...
//
// Unlike go build and go vet it compiles nothing, and of imported packages it reads only
// the declarations. For another Kubernetes it needs 7 s of CPU, while a build needs
// minutes. It continues if a package or a module is missing, and also reports the errors
// of a package whose imports have errors. .ci/upgrade runs it before the build. With
// -imports it also checks the function bodies of all imported packages. This finds a
// Kubernetes that does not compile with a newer version of a third-party module.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

func main() {
	deep := flag.Bool("imports", false, "check the function bodies of imported packages, too")
	flag.Parse()
	failures, err := run(flag.Args(), *deep, os.Stdout)
	if err == nil && failures > 0 {
		err = fmt.Errorf("%d errors", failures)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "typecheck:", err)
		os.Exit(1)
	}
}

// listed is a package as go list prints it.
type listed struct {
	ImportPath, Dir, ForTest string
	Name                     string
	GoFiles                  []string
	Imports                  []string
	ImportMap                map[string]string
	Standard                 bool
	Module                   *struct {
		Path, GoVersion string
		Main            bool
	}
	Error *struct{ Err string }
}

// checksBodies reports whether to check function bodies: the package is in a module of
// the workspace, or -imports is set.
func (c *checker) checksBodies(p *listed) bool { return p.Module != nil && (p.Module.Main || c.deep) }

func run(patterns []string, deep bool, out io.Writer) (failures int, err error) {
	args := append([]string{"list", "-e", "-deps", "-test", "-json=ImportPath,Dir,ForTest,Name,GoFiles,Imports,ImportMap,Standard,Module,Error"}, patterns...)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	list, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("go list: %w", err)
	}
	c := &checker{fset: token.NewFileSet(), done: map[string]*types.Package{"unsafe": types.Unsafe}, reported: map[string]bool{}, deep: deep, out: out}
	for decoder := json.NewDecoder(bytes.NewReader(list)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return 0, err
		}
		// A test's main package is generated and has no files.
		if p.ImportPath != "unsafe" && !strings.HasSuffix(p.ImportPath, ".test") {
			c.check(&p)
		}
	}
	return len(c.reported), nil
}

type checker struct {
	fset     *token.FileSet
	done     map[string]*types.Package
	reported map[string]bool // a file is in a package and in its test variant
	deep     bool
	out      io.Writer
}

// check checks a package after its imports: go list prints them in this order.
func (c *checker) check(p *listed) {
	if c.checksBodies(p) && p.Error != nil {
		c.report(p.ImportPath + ": " + p.Error.Err)
	}
	var files []*ast.File
	for _, name := range p.GoFiles {
		if !filepath.IsAbs(name) {
			name = filepath.Join(p.Dir, name)
		}
		file, err := parser.ParseFile(c.fset, name, nil, parser.SkipObjectResolution)
		if err != nil && c.checksBodies(p) {
			c.report(err.Error())
		}
		if file != nil {
			files = append(files, file)
		}
	}
	config := types.Config{
		Importer:         imports{c, p.ImportMap},
		IgnoreFuncBodies: !c.checksBodies(p),
		FakeImportC:      true,
		Sizes:            types.SizesFor("gc", runtime.GOARCH),
		Error: func(err error) {
			if c.checksBodies(p) {
				c.report(err.Error())
			}
		},
	}
	if p.Module != nil && p.Module.GoVersion != "" {
		config.GoVersion = "go" + p.Module.GoVersion
	}
	path, _, _ := strings.Cut(p.ImportPath, " ")
	pkg, _ := config.Check(path, c.fset, files, nil) // config.Error has reported the error.
	if pkg != nil {
		// Importers can use a package with errors.
		pkg.MarkComplete()
		c.done[p.ImportPath] = pkg
	}
}

func (c *checker) report(text string) {
	if wd, err := os.Getwd(); err == nil {
		text = strings.ReplaceAll(text, wd+string(filepath.Separator), "")
	}
	if !c.reported[text] {
		c.reported[text] = true
		fmt.Fprintln(c.out, text)
	}
}

// imports resolves the imports of one package.
type imports struct {
	*checker
	renamed map[string]string
}

func (i imports) Import(path string) (*types.Package, error) {
	if renamed, ok := i.renamed[path]; ok {
		path = renamed
	}
	if pkg := i.done[path]; pkg != nil {
		return pkg, nil
	}
	return nil, fmt.Errorf("package %s is missing", path)
}
