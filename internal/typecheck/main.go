// The program typecheck type-checks packages of this repository with the versions that go.mod
// names, and prints every error:
//
//	go run ./internal/typecheck ./... ./internal/e2e/...
//
// In contrast to go build and go vet it compiles nothing, and of imported packages it reads only
// the declarations. It needs 7 s of CPU for another Kubernetes, where a build needs minutes. It
// goes on where a package or a module is missing, and reports the errors of a package whose imports
// have errors, too. .ci/upgrade runs it before the build. With -imports it also checks the function
// bodies of all imported packages, which finds a Kubernetes that does not compile with a newer
// version of a third module.
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

// checksBodies reports whether all of a package is checked: it is in a module of the workspace.
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
		// A test's main package is generated: there is nothing to see.
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

// check checks a package, after all that it imports: go list prints them in this order.
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
	pkg, _ := config.Check(path, c.fset, files, nil) // Error has got it.
	if pkg != nil {
		// One with errors is still good for its importers.
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

// imports finds what one package imports.
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
	return nil, fmt.Errorf("%s is not there", path)
}
