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
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestEveryFlagIsDocumented: the package documentation has a row for every flag that
// kube-apiserver itself has, and for no other, and the fields in it exist.
func TestEveryFlagIsDocumented(t *testing.T) {
	t.Parallel()
	var want []string
	flags := map[string]*pflag.Flag{}
	sets := options.NewServerRunOptions().Flags()
	for _, name := range sets.Order {
		want = append(want, name)
		sets.FlagSets[name].VisitAll(func(f *pflag.Flag) {
			want = append(want, "--"+f.Name)
			flags["--"+f.Name] = f
		})
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
		if flag := flags[r.name]; r.text != "" && flag != nil {
			checkPlace(t, r, flag)
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

var (
	// places are fields of apiserver.Config, and in parentheses of controlplane.Config.
	places = regexp.MustCompile(`^([A-Z]\w*(?:\.[A-Z]\w*)*(?:, [A-Z]\w*(?:\.[A-Z]\w*)*)*)(?: \(([\w.]+)\))?(?:: .+)?$`)
	// nested are fields that a reason mentions.
	nested = regexp.MustCompile(`\b[A-Z]\w*(?:\.[A-Z]\w*)+`)
	always = regexp.MustCompile(`^always (.+?)(?:(?:: |, unless |, as ).+)?$`)
)

// checkPlace checks that the text of a row is a field, a value or a reason, and that the
// fields in it exist.
func checkPlace(t *testing.T, r row, flag *pflag.Flag) {
	t.Helper()
	server, plane := reflect.TypeFor[apiserver.Config](), reflect.TypeFor[controlplane.Config]()
	for _, path := range nested.FindAllString(r.text, -1) {
		if !hasField(server, path) && !hasField(plane, path) {
			t.Errorf("%s: no Config has a field %s", r.name, path)
		}
	}
	if reason, ok := strings.CutPrefix(r.text, "none: "); ok {
		if len(reason) < len("likewise") {
			t.Errorf("%s has no reason: %q", r.name, r.text)
		}
		return
	}
	if value := always.FindStringSubmatch(r.text); value != nil {
		checkAlways(t, flag, strings.ReplaceAll(value[1], ", ", ","))
		return
	}
	parts := places.FindStringSubmatch(r.text)
	if parts == nil {
		t.Errorf("%s: got %q, want a field, \"always\" or \"none: \"", r.name, r.text)
		return
	}
	for path := range strings.SplitSeq(parts[1], ", ") {
		if !hasField(server, path) {
			t.Errorf("%s: apiserver.Config has no field %s", r.name, path)
		}
	}
	if parts[2] != "" && !hasField(plane, parts[2]) {
		t.Errorf("%s: controlplane.Config has no field %s", r.name, parts[2])
	}
}

// notDefaults are the flags whose fixed value is not kube-apiserver's default, with that
// default.
var notDefaults = map[string]string{
	"allow-privileged":                "false",
	"enable-aggregator-routing":       "false",
	"enable-bootstrap-token-auth":     "false",
	"etcd-count-metric-poll-period":   "1m0s",
	"etcd-db-metric-poll-interval":    "30s",
	"kubelet-preferred-address-types": "[Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP]",
	"storage-backend":                 "", // completed to etcd3
}

// checkAlways checks that the flag takes a value, which is its default unless notDefaults
// says otherwise.
func checkAlways(t *testing.T, flag *pflag.Flag, value string) {
	t.Helper()
	if err := flag.Value.Set(value); err != nil {
		t.Errorf("--%s: kube-apiserver does not take %q: %v", flag.Name, value, err)
		return
	}
	differs, known := notDefaults[flag.Name]
	switch got := flag.Value.String(); {
	case known && flag.DefValue != differs:
		t.Errorf("--%s: the default is %q, want %q, as in notDefaults", flag.Name, flag.DefValue, differs)
	case known == (got == flag.DefValue):
		t.Errorf("--%s is always %q, and kube-apiserver's default is %q: is it in notDefaults? %t", flag.Name, got, flag.DefValue, known)
	}
}

// hasField reports whether a struct has a field at a path of names.
func hasField(of reflect.Type, path string) bool {
	for name := range strings.SplitSeq(path, ".") {
		if of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct {
			return false
		}
		field, ok := of.FieldByName(name)
		if !ok || !field.IsExported() {
			return false
		}
		of = field.Type
	}
	return true
}
