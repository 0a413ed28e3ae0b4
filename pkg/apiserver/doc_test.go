// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestEveryFlagIsDocumented: the package documentation has a row for every flag that
// kube-apiserver itself has, and for no other, and the fields in it exist.
func TestEveryFlagIsDocumented(t *testing.T) {
	t.Parallel()
	var want []string
	sets := options.NewServerRunOptions().Flags()
	for _, name := range sets.Order {
		want = append(want, name)
		sets.FlagSets[name].VisitAll(func(f *pflag.Flag) { want = append(want, "--"+f.Name) })
	}
	rows := documentedFlags(t)
	var got []string
	for _, r := range rows {
		got = append(got, r.name)
	}
	if !slices.Equal(got, want) {
		for _, name := range want {
			if !slices.Contains(got, name) {
				t.Errorf("%s is not in the table", name)
			}
		}
		for _, name := range got {
			if !slices.Contains(want, name) {
				t.Errorf("%s is no flag of kube-apiserver", name)
			}
		}
		t.Errorf("the table is not in the order of kube-apiserver's help:\n%q\nwant\n%q", got, want)
	}
	for _, r := range rows {
		if r.text != "" {
			checkPlace(t, r)
		}
	}
}

// row is a flag, or the name of a group of flags, which has no text.
type row struct{ name, text string }

// documentedFlags returns the rows of the table in doc.go.
func documentedFlags(t *testing.T) (rows []row) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(file.Doc.Text(), "# Flags of kube-apiserver\n")
	if !ok {
		t.Fatal("doc.go has no section about the flags")
	}
	section, _, _ = strings.Cut(section, "\n# ")
	for line := range strings.Lines(section) {
		line, indented := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "\t")
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case !indented || line == "":
		case strings.HasPrefix(name, "--") && strings.HasPrefix(line, "  --"):
			rows = append(rows, row{name, strings.TrimSpace(text)})
		case strings.HasPrefix(line, " "):
			last := &rows[len(rows)-1]
			last.text = strings.TrimSpace(last.text + " " + strings.TrimSpace(line))
		default:
			rows = append(rows, row{name: line})
		}
	}
	return rows
}

var places = regexp.MustCompile(`^[A-Z]\w*(\.[A-Z]\w*)*(, [A-Z]\w*(\.[A-Z]\w*)*)*`)

// checkPlace checks that the text of a row is a field, a value or a reason.
func checkPlace(t *testing.T, r row) {
	t.Helper()
	if reason, ok := strings.CutPrefix(r.text, "none: "); ok {
		if len(reason) < len("likewise") {
			t.Errorf("%s has no reason: %q", r.name, r.text)
		}
		return
	}
	if strings.HasPrefix(r.text, "always ") {
		return
	}
	paths := places.FindString(r.text)
	if paths == "" {
		t.Errorf("%s: got %q, want a field, \"always\" or \"none: \"", r.name, r.text)
	}
	for path := range strings.SplitSeq(paths, ", ") {
		of := reflect.TypeFor[apiserver.Config]()
		for name := range strings.SplitSeq(path, ".") {
			field, ok := reflect.StructField{}, of.Kind() == reflect.Struct
			if ok {
				field, ok = of.FieldByName(name)
			}
			if !ok {
				t.Errorf("%s: Config has no field %s", r.name, path)
				break
			}
			of = field.Type
		}
	}
}
