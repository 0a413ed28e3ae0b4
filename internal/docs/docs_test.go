// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

const root = "../.."

// TestEveryBlockIsRunOrSaysWhyNot reads all pages: a block that no test runs is an error
// unless a comment has the reason.
func TestEveryBlockIsRunOrSaysWhyNot(t *testing.T) {
	pages, err := Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	run, skipped := 0, 0
	for _, page := range pages {
		blocks, err := Read(root, page)
		if err != nil {
			t.Error(err)
		}
		for _, b := range blocks {
			if b.Has("not run:") {
				skipped++
				continue
			}
			switch run++; b.Lang {
			case "go":
				if _, err := b.GoTest("pages_test"); err != nil {
					t.Error(err)
				}
			case "yaml":
				var any any
				if err := yaml.UnmarshalStrict([]byte(b.Text), &any); err != nil {
					t.Errorf("%s: %v", b, err)
				}
			case "dockerfile":
				t.Errorf("%s: no test runs it: say why not", b)
			case "sh", "console":
				if !slices.Contains(ShellPages, page) && !b.Has("in a new module") {
					t.Errorf("%s: no test runs the commands of this page: add it to ShellPages, or say why not", b)
				}
			}
		}
	}
	for _, page := range append(ShellPages, "pkg/controlplanetest/MIGRATION.md", "pkg/controlplane/DURABILITY.md") {
		if !slices.Contains(pages, page) {
			t.Errorf("%s is not among the pages %q", page, pages)
		}
	}
	t.Logf("%d blocks of %d pages are run, %d say why not", run, len(pages), skipped)
}

// Commands with a version of Kubernetes have the one that is embedded.
func TestVersionsInPages(t *testing.T) {
	pages, err := Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	stamp, found := regexp.MustCompile(`gitVersion=(v[0-9.]+)|dl\.k8s\.io/release/(v[0-9.]+)`), 0
	for _, page := range pages {
		data, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range stamp.FindAllStringSubmatch(string(data), -1) {
			if found++; match[1]+match[2] != apiserver.KubernetesVersion {
				t.Errorf("%s: %s: the version is %s", page, match[0], apiserver.KubernetesVersion)
			}
		}
	}
	if found == 0 {
		t.Error("no command has a version")
	}
}

// The table of the README has what go.mod requires.
func TestCompatibilityTable(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	minor := strings.Split(apiserver.KubernetesVersion, ".")[1]
	_, patch, _ := strings.Cut(strings.TrimPrefix(apiserver.KubernetesVersion, "v"), ".")
	want := []string{
		"v0." + minor + ".x",
		apiserver.KubernetesVersion + " (staging v0." + patch + ")",
		required(t, "go.mod", "go.etcd.io/etcd/server/v3"),
		strings.TrimSuffix(required(t, "go.mod", "go"), ".0") + " or newer",
	}
	var row []string
	for line := range strings.Lines(string(readme)) {
		if strings.HasPrefix(line, "| v0.") {
			row = strings.Split(strings.Trim(line, "|\n "), " | ")
		}
	}
	if len(row) != 7 || !slices.Equal(row[:4], want) {
		t.Fatalf("the row of the table is %q, want %q", row, want)
	}
	runtime := required(t, "examples/controller-test/go.mod", "sigs.k8s.io/controller-runtime")
	if !strings.HasPrefix(runtime, row[6]+".") {
		t.Errorf("the table has controller-runtime %s, the examples have %s", row[6], runtime)
	}
	if !strings.Contains(string(readme), "go get sigs.k8s.io/controller-runtime@"+row[6]+" ") {
		t.Errorf("the page does not go get controller-runtime@%s", row[6])
	}
}

// required is the version in a go.mod.
func required(t *testing.T, gomod, module string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(gomod)))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`(?m)^\t?` + regexp.QuoteMeta(module) + ` (\S+)`).FindSubmatch(data)
	if match == nil {
		t.Fatalf("%s does not require %s", gomod, module)
	}
	return string(match[1])
}

func TestParse(t *testing.T) {
	blocks, err := Parse("page.md", "text\n\n<!-- docs: given x := 1 -->\n<!-- demo -->\n```go\na\n\tb\n```\n\n- item\n  ```sh\n  c\n  ```\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(blocks) != 2 || blocks[0].String() != "page.md:5" || blocks[0].Text != "a\n\tb\n" || blocks[0].Get("given")[0] != "x := 1" || blocks[1].Text != "c\n" {
		t.Errorf("%+v", blocks)
	}
	for name, text := range map[string]string{
		"no language":           "```\nls\n```\n",
		"unknown language":      "```python\nls\n```\n",
		"no end":                "```sh\nls\n",
		"no reason":             "<!-- docs: not run: -->\n```sh\nls\n```\n",
		"unknown comment":       "<!-- docs: skip: slow -->\n```sh\nls\n```\n",
		"comment on nothing":    "<!-- docs: not run: slow -->\ntext\n```sh\nls\n```\n",
		"comment of another":    "<!-- docs: given x := 1 -->\n```sh\nls\n```\n",
		"value where none must": "<!-- docs: workers join now -->\n```sh\nls\n```\n",
	} {
		if _, err := Parse("page.md", text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestGoBlocks(t *testing.T) {
	for name, test := range map[string]struct {
		block Block
		want  []string
	}{
		"statements": {
			Block{Line: 7, Text: "cp, err := controlplane.Start(ctx, controlplane.Config{}) // ready\njoin, err := cp.JoinKubeconfig(ctx, time.Hour)\n"},
			[]string{"func Test_Line7(", `controlplane "github.com/kubembed/kubembed/pkg/controlplane"`, `time "time"`, "_ = []any{cp, err, join}", "cp.Close()", "return err"},
		},
		"a test with a gap": {
			Block{Text: "func TestWidget(t *testing.T) {\n\tc := 1\n\t...\n}\n"},
			[]string{"_ = []any{c}", `testing "testing"`},
		},
		"declarations": {
			Block{Text: "var _ = JustAfterEach(func() { cp.OnFailure(GinkgoT()) })\n", Directives: []Directive{{"given", "var cp *controlplanetest.ControlPlane"}}},
			[]string{"var cp *controlplanetest.ControlPlane", `controlplanetest "github.com/kubembed/kubembed/pkg/controlplanetest"`, `. "github.com/onsi/ginkgo/v2"`},
		},
		"replaced": {
			Block{Text: "dir := \"/data\"\n", Directives: []Directive{{"with", `"/data" => t.TempDir()`}, {"compile only:", "why"}}},
			[]string{"dir := t.TempDir()", "var _ = runLine0"},
		},
	} {
		got, err := test.block.GoTest("p")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range test.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is not in\n%s", name, want, got)
			}
		}
	}
	for name, block := range map[string]Block{
		"no Go":              {Text: "cp, err = = 1\n"},
		"nothing to replace": {Text: "x := 1\n", Directives: []Directive{{"with", "y => z"}}},
	} {
		if got, err := block.GoTest("p"); err == nil {
			t.Errorf("%s: no error:\n%s", name, got)
		}
	}
}

func TestMatch(t *testing.T) {
	const output = "NAME      STATUS   AGE\nworker0   Ready    3s\nworker1   Ready   1m3s   \nnginx-64f9964494-77pww 10.0.0.1\n"
	for shown, want := range map[string]bool{
		"":                                     true,
		"NAME STATUS AGE\n":                    true,
		"worker1   Ready 5m\n":                 true,
		"NAME STATUS AGE\nworker1 Ready 21s\n": true,
		"nginx-7bcd964494-abcde 10.99.1.2\n":   false, // vowels are never generated
		"nginx-7bcd964494-bcdfg 10.99.1.2\n":   true,
		"web-64f9964494-77pww 10.0.0.1\n":      false,
		"worker1 Ready 5m\nworker0 Ready 5m\n": false,
		"worker1 NotReady 5m\n":                false,
		"worker1 Ready\n":                      false,
		"worker2 Ready 3s\n":                   false,
	} {
		if err := Match(shown, output); (err == nil) != want {
			t.Errorf("%q: %v", shown, err)
		}
	}
}

// TestPathsInPages checks that the files that contributors' pages name exist.
func TestPathsInPages(t *testing.T) {
	path := regexp.MustCompile("`((?:pkg|internal|examples)/[\\w./-]+)`")
	for _, page := range []string{"ARCHITECTURE.md", "CONTRIBUTING.md"} {
		content, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		found := path.FindAllStringSubmatch(string(content), -1)
		if len(found) < 3 {
			t.Errorf("%s names %d paths", page, len(found))
		}
		for _, match := range found {
			if _, err := os.Stat(filepath.Join(root, match[1])); err != nil {
				t.Errorf("%s names %s: %v", page, match[1], err)
			}
		}
	}
}
