// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package docs extracts the code blocks of the project's Markdown pages, so that tests
// compile and run them as they are written.
//
// Every block is run, or a comment directly above it says why not:
//
//	<!-- docs: not run: takes hours -->
//
// Blocks of sh and console run in order, each page in a clean copy of the clone
// ([Script]). Blocks of Go become tests in a new module that has fetched the library
// ([Block.GoTest]). Comments change how:
//
//	<!-- docs: background until TEXT -->       sh: the last command keeps running, the next block waits for TEXT
//	<!-- docs: workers join -->                sh: simulated workers called worker1 and worker2 join after it
//	<!-- docs: in a new module -->             sh: commands of somebody who starts one, like go get
//	<!-- docs: given STATEMENTS -->            go: what the block takes for granted
//	<!-- docs: with OLD => NEW -->             go: a replacement, as for paths of another machine
//	<!-- docs: compile only: REASON -->        go: not run
//
// A line of "..." in a block of Go stands for statements of the reader.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Block is a fenced block of a page.
type Block struct {
	Page       string // path from the root, with slashes
	Line       int    // of the opening fence
	Lang       string
	Text       string
	Directives []Directive
}

// Directive is a comment above a block: "background until", "Press Ctrl-C".
type Directive struct{ Name, Value string }

// String is where the block is, as editors and terminals link to it.
func (b Block) String() string { return fmt.Sprintf("%s:%d", b.Page, b.Line) }

// directives are the known ones, with the languages that have them and whether they
// have a value.
var directives = []struct {
	name  string
	langs []string
	value bool
}{
	{"not run:", []string{"sh", "console", "go", "dockerfile"}, true},
	{"background until", []string{"sh"}, true},
	{"workers join", []string{"sh"}, false},
	{"in a new module", []string{"sh"}, false},
	{"given", []string{"go"}, true},
	{"with", []string{"go"}, true},
	{"compile only:", []string{"go"}, true},
}

// Get returns the values of the directives of one name.
func (b Block) Get(name string) (values []string) {
	for _, d := range b.Directives {
		if d.Name == name {
			values = append(values, d.Value)
		}
	}
	return values
}

// Has reports whether the block has a directive.
func (b Block) Has(name string) bool { return len(b.Get(name)) > 0 }

// Pages are the Markdown pages below root. Directories of other tools are left out.
func Pages(root string) (pages []string, err error) {
	err = fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "bin" || entry.Name() == "testdata"):
			return fs.SkipDir
		case strings.HasSuffix(name, ".md"):
			pages = append(pages, name)
		}
		return nil
	})
	return pages, err
}

// Read returns the blocks of a page. A block that tests cannot place is an error.
func Read(root, page string) ([]Block, error) {
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(page)))
	if err != nil {
		return nil, err
	}
	return Parse(page, string(data))
}

// Parse is Read of a text.
func Parse(page, text string) (blocks []Block, err error) {
	var current *Block
	var above []Directive
	indent := ""
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case current != nil && trimmed == "```":
			if err := current.check(); err != nil {
				return nil, err
			}
			blocks, current = append(blocks, *current), nil
		case current != nil:
			current.Text += strings.TrimPrefix(line, indent) + "\n"
		case strings.HasPrefix(trimmed, "```"):
			indent = line[:len(line)-len(strings.TrimLeft(line, " "))]
			current = &Block{Page: page, Line: i + 1, Lang: strings.TrimPrefix(trimmed, "```"), Directives: above}
			above = nil
		case strings.HasPrefix(trimmed, "<!-- docs:"):
			d, err := directive(strings.TrimSuffix(strings.TrimPrefix(trimmed, "<!-- docs:"), "-->"))
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", page, i+1, err)
			}
			above = append(above, d)
		case trimmed == "", strings.HasPrefix(trimmed, "<!--"):
		case len(above) > 0:
			return nil, fmt.Errorf("%s:%d: a docs comment stands above no block", page, i+1)
		}
	}
	if current != nil {
		return nil, fmt.Errorf("%s: the block has no end", current)
	}
	return blocks, nil
}

func directive(text string) (Directive, error) {
	text = strings.TrimSpace(text)
	for _, known := range directives {
		value, ok := strings.CutPrefix(text, known.name)
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		if known.value != (value != "") {
			return Directive{}, fmt.Errorf("the docs comment %q has a value too few or too many", text)
		}
		return Directive{known.name, value}, nil
	}
	return Directive{}, fmt.Errorf("unknown docs comment %q", text)
}

// check refuses what no test looks at.
func (b Block) check() error {
	if !slices.Contains([]string{"go", "sh", "console", "yaml", "mermaid", "dockerfile"}, b.Lang) {
		return fmt.Errorf("%s: a block of %q is run by no test: name its language, or add it to package docs", b, b.Lang)
	}
	for _, d := range b.Directives {
		for _, known := range directives {
			if known.name == d.Name && !slices.Contains(known.langs, b.Lang) {
				return fmt.Errorf("%s: the docs comment %q is not for blocks of %s", b, d.Name, b.Lang)
			}
		}
	}
	return nil
}
