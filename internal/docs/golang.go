// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strings"
)

// imports are the packages that blocks take for granted, by the names in them.
var imports = map[string]string{
	"context": "context", "errors": "errors", "fmt": "fmt", "os": "os", "time": "time", "testing": "testing",

	"apiserver":        "github.com/kubembed/kubembed/pkg/apiserver",
	"controllers":      "github.com/kubembed/kubembed/pkg/components/controllers",
	"controlplane":     "github.com/kubembed/kubembed/pkg/controlplane",
	"controlplanetest": "github.com/kubembed/kubembed/pkg/controlplanetest",
	"hollownode":       "github.com/kubembed/kubembed/pkg/components/hollownode",
	"pki":              "github.com/kubembed/kubembed/pkg/pki",
	"scheduler":        "github.com/kubembed/kubembed/pkg/components/scheduler",

	"corev1":     "k8s.io/api/core/v1",
	"kubernetes": "k8s.io/client-go/kubernetes",
	"metav1":     "k8s.io/apimachinery/pkg/apis/meta/v1",
	"ptr":        "k8s.io/utils/ptr",
	"prometheus": "github.com/prometheus/client_golang/prometheus",
	"promhttp":   "github.com/prometheus/client_golang/prometheus/promhttp",
	"http":       "net/http",

	"GinkgoT":     ".github.com/onsi/ginkgo/v2",
	"BeforeSuite": ".github.com/onsi/ginkgo/v2",
	"AfterSuite":  ".github.com/onsi/ginkgo/v2",
	"Expect":      ".github.com/onsi/gomega",

	"client":        "sigs.k8s.io/controller-runtime/pkg/client",
	"config":        "sigs.k8s.io/controller-runtime/pkg/config",
	"ctrl":          "sigs.k8s.io/controller-runtime",
	"envtest":       "sigs.k8s.io/controller-runtime/pkg/envtest",
	"metricsserver": "sigs.k8s.io/controller-runtime/pkg/metrics/server",
	"webhook":       "sigs.k8s.io/controller-runtime/pkg/webhook",
}

// FileName is for the file of GoTest.
func (b Block) FileName() string { return strings.ToLower(b.name()) + "_test.go" }

// name is part of the names of functions, like READMELine7.
func (b Block) name() string {
	page := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, strings.TrimSuffix(b.Page, ".md"))
	return fmt.Sprintf("%sLine%d", page, b.Line)
}

// ellipsis is a line that stands for statements of the reader.
var ellipsis = regexp.MustCompile(`(?m)^\s*\.\.\.(\s*//.*)?$`)

const ellipsisCall = "docsEllipsis()"

// GoTest makes a block of Go a file of a package of tests: declarations stay as they
// are, and statements get a function and the check of errors that the block leaves out.
func (b Block) GoTest(pkg string) (string, error) {
	text := b.Text
	for _, with := range b.Get("with") {
		old, replacement, ok := strings.Cut(with, " => ")
		if !ok || !strings.Contains(text, old) {
			return "", fmt.Errorf("%s: nothing to replace for the docs comment %q", b, with)
		}
		text = strings.ReplaceAll(text, old, replacement)
	}
	text = ellipsis.ReplaceAllString(text, ellipsisCall)
	given := strings.Join(b.Get("given"), "\n")

	name := b.name()
	head := "package " + pkg + "\n\n"
	if declarations := head + given + "\n" + text; parses(declarations) {
		return b.finish(declarations, name)
	}
	body := head + "func run" + name + "(t *testing.T, ctx context.Context) error {\n" + given + "\n" + text + "\n}\n"
	if b.Has("compile only:") {
		body += "\nvar _ = run" + name + "\n"
	} else {
		body += "\nfunc Test_" + name + "(t *testing.T) {\n\tif err := run" + name + "(t, t.Context()); err != nil {\n\t\tt.Fatal(err)\n\t}\n}\n"
	}
	return b.finish(body, name)
}

func parses(source string) bool {
	_, err := parser.ParseFile(token.NewFileSet(), "", source, 0)
	return err == nil
}

// finish adds what makes the text compile: uses of variables, checks of errors, imports.
func (b Block) finish(source, name string) (string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, b.Page, source, parser.ParseComments)
	if err != nil {
		return "", fmt.Errorf("%s: %w", b, err)
	}
	e := editor{fset: fset, source: source}
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Body != nil && f.Name.Name != "Test_"+name {
			e.function(f, f.Name.Name == "run"+name)
		}
	}
	source = e.apply()

	var lines []string
	for _, ident := range file.Unresolved {
		path, ok := imports[ident.Name]
		if !ok {
			continue // a predeclared name, or one that the compiler will miss
		}
		line := ident.Name + ` "` + path + `"`
		if dot, ok := strings.CutPrefix(path, "."); ok {
			line = `. "` + dot + `"`
		}
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	clause, rest, _ := strings.Cut(source, "\n")
	source = "// Of " + b.String() + "\n" + clause + "\n\nimport (\n\t" + strings.Join(lines, "\n\t") + "\n)\n" + rest
	formatted, err := format.Source([]byte(source))
	if err != nil {
		return "", fmt.Errorf("%s: %w", b, err)
	}
	return string(formatted), nil
}

// editor collects insertions.
type editor struct {
	fset   *token.FileSet
	source string
	edits  []edit
}

type edit struct {
	from, to int
	text     string
}

func (e *editor) insert(pos, end token.Pos, text string) {
	e.edits = append(e.edits, edit{e.fset.Position(pos).Offset, e.fset.Position(end).Offset, text})
}

func (e *editor) apply() string {
	slices.SortStableFunc(e.edits, func(a, b edit) int { return b.from - a.from })
	text := e.source
	for _, edit := range e.edits {
		text = text[:edit.from] + edit.text + text[edit.to:]
	}
	return text
}

// function uses the variables of a function's body. In statements that became one it
// also checks errors and closes the control plane, which a reader does elsewhere.
func (e *editor) function(f *ast.FuncDecl, statements bool) {
	var declared []string
	list := f.Body.List
	for i, stmt := range list {
		if call, ok := stmt.(*ast.ExprStmt); ok && e.text(call) == ellipsisCall {
			e.insert(call.Pos(), call.End(), "_ = []any{"+strings.Join(declared, ", ")+"}")
			continue
		}
		assign, ok := stmt.(*ast.AssignStmt)
		if !ok {
			continue
		}
		names := make([]string, 0, len(assign.Lhs))
		for _, lhs := range assign.Lhs {
			ident, ok := lhs.(*ast.Ident)
			if !ok || ident.Name == "_" {
				continue
			}
			names = append(names, ident.Name)
			if assign.Tok == token.DEFINE && !slices.Contains(declared, ident.Name) {
				declared = append(declared, ident.Name)
			}
		}
		if !statements {
			continue
		}
		after := ""
		if slices.Contains(names, "err") && !(i+1 < len(list) && isIf(list[i+1])) {
			after = "\nif err != nil {\nreturn err\n}\n"
		}
		// A controlplane.Server comes with an error. A fixture has no Close.
		if assign.Tok == token.DEFINE && slices.Contains(names, "cp") && slices.Contains(names, "err") && !strings.Contains(e.source, "cp.Close()") {
			after += "\nt.Cleanup(func() { _ = cp.Close() })\n"
		}
		if after != "" {
			e.insert(assign.End(), assign.End(), after)
		}
	}
	if statements {
		e.insert(f.Body.Rbrace, f.Body.Rbrace, "_ = []any{"+strings.Join(declared, ", ")+"}\nreturn nil\n")
	}
}

func (e *editor) text(node ast.Node) string {
	return e.source[e.fset.Position(node.Pos()).Offset:e.fset.Position(node.End()).Offset]
}

func isIf(stmt ast.Stmt) bool {
	_, ok := stmt.(*ast.IfStmt)
	return ok
}
