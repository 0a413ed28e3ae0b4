// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package proselint_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/proselint"
)

// TestProse reads every comment and page of the project.
func TestProse(t *testing.T) {
	tree := os.DirFS("../..")
	names, err := proselint.Files(tree)
	if err != nil {
		t.Fatal(err)
	}
	words, found := 0, make([]int, len(proselint.Ceilings))
	for _, name := range names {
		lines, err := read(tree, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if line.Wide {
				t.Errorf("%s:%d: the comment has more than %d columns", name, line.Number, proselint.MaxColumns)
			}
			for _, d := range proselint.Denied {
				if match := d.Expression.FindString(line.Text); match != "" {
					t.Errorf("%s:%d: %q: write %s", name, line.Number, match, d.Cure)
				}
			}
			words += proselint.Words(line.Text)
			for i, c := range proselint.Ceilings {
				found[i] += len(c.Expression.FindAllString(line.Text, -1))
			}
		}
	}
	for i, c := range proselint.Ceilings {
		frequency := float64(found[i]) * 10_000 / float64(words)
		t.Logf("%s: %.1f per 10,000 words", c.Name, frequency)
		if frequency > c.Most {
			t.Errorf("%q: %.1f per 10,000 words, want at most %v: make the thing the subject of the sentence", c.Name, frequency, c.Most)
		}
	}
	if words < 50_000 {
		t.Errorf("only %d words are read", words)
	}
}

func read(tree fs.FS, name string) ([]proselint.Line, error) {
	content, err := fs.ReadFile(tree, name)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(name, ".md") {
		return proselint.Markdown(content), nil
	}
	return proselint.Go(name, content)
}

func TestGo(t *testing.T) {
	source := `package p

// F tells whether it is.
//
//	code in whichever folder
//
//nolint:all // a folder
func F() {} // of "whom" ` + "`anew`" + ` and whom
// ` + strings.Repeat("x", 100) + `
`
	lines, err := proselint.Go("p.go", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	wide := 0
	for _, line := range lines {
		if line.Wide {
			wide++
		}
		for _, d := range proselint.Denied {
			if match := d.Expression.FindString(line.Text); match != "" {
				got = append(got, match)
			}
		}
	}
	if want := "tells whether"; strings.Join(got, ", ") != want {
		t.Errorf("found %q, want %q", got, want)
	}
	if wide != 1 {
		t.Errorf("%d wide lines, want 1", wide)
	}
}

func TestMarkdown(t *testing.T) {
	lines := proselint.Markdown([]byte("The folder.\n```sh\nfolder\n```\n<!-- folder -->\n`folder`\n"))
	if len(lines) != 3 || !strings.Contains(lines[0].Text, "folder") || strings.Contains(lines[1].Text, "folder") {
		t.Errorf("got %+v", lines)
	}
}
