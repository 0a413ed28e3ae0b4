// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package proselint finds wording in comments and pages that CONTRIBUTING.md rules out:
// words that have a standard term in the field, phrases that hide the subject of a
// sentence, and comment lines that are too wide.
package proselint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"regexp"
	"strings"
	"unicode/utf8"
)

// MaxColumns is the widest comment line. A tab counts as four columns.
const MaxColumns = 90

// Denied are expressions that no text has, with the cure.
var Denied = []struct {
	Expression *regexp.Regexp
	Cure       string
}{
	{denied(`who(m)?ever`), `name the subject: "a client that ..."`},
	{denied(`anew`), `"again"`},
	{denied(`of (which|whom)`), `start another sentence: "Its ..."`},
	{denied(`there(of|upon)`), `"its"`},
	{denied(`folders?`), `"directory"`},
	{denied(`for ever`), `"forever"`},
	{denied(`tells whether`), `"reports whether"`},
	{denied(`(is|are) told`), `"is notified", or name who reports it`},
	{denied(`etcd (is )?elsewhere`), `"external etcd"`},
	{denied(`those who`), `name them: "clients that ..."`},
}

// Ceilings bound phrases that are sound in places and hide the subject where they are a
// habit. They are per 10,000 words of all texts together.
var Ceilings = []struct {
	Name       string
	Expression *regexp.Regexp
	Most       float64
}{
	{"what is/are/has", denied(`what (is|are|has|was|have|it|he|they|there)`), 3},
	{"those that/who/of", denied(`those (that|who|which|of)`), 1.5},
	{"tells whether/that, is told", denied(`tells? (whether|that|of|how|which)|(is|are) told`), 3},
}

func denied(words string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(` + words + `)\b`)
}

// Line is a line of prose.
type Line struct {
	Number int
	Text   string // without code spans
	Wide   bool   // has more than MaxColumns; only comments
}

// Go returns the lines of the comments of a Go file. Directives, generated files and
// indented code in comments are left out.
func Go(name string, source []byte) ([]Line, error) {
	positions := token.NewFileSet()
	file, err := parser.ParseFile(positions, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if ast.IsGenerated(file) {
		return nil, nil
	}
	var lines []Line
	content := strings.Split(string(source), "\n")
	for _, group := range file.Comments {
		for _, comment := range group.List {
			first := positions.Position(comment.Pos()).Line
			for i, text := range strings.Split(comment.Text, "\n") {
				if directive.MatchString(text) {
					continue
				}
				line := Line{Number: first + i, Wide: wide(content[first+i-1])}
				if !strings.HasPrefix(text, "//\t") {
					line.Text = codeSpan.ReplaceAllString(text, " ")
				}
				lines = append(lines, line)
			}
		}
	}
	return lines, nil
}

// directive is a comment for a tool, like "+kubebuilder", or a URL.
var directive = regexp.MustCompile(`^//(go:|nolint|line |export |\s*\+|\s*https?://\S+$)`)

// codeSpan is text that quotes: Markdown code, or a string in quotes.
var codeSpan = regexp.MustCompile("`[^`]*`|\"[^\"]*\"")

// wide reports whether a line that is only a comment has too many columns. A line that
// ends with a comment is as wide as its code, and a URL cannot be broken.
func wide(line string) bool {
	trimmed := strings.TrimLeft(line, "\t")
	if !strings.HasPrefix(trimmed, "//") || strings.HasPrefix(trimmed, "//\t") || strings.Contains(trimmed, "://") {
		return false
	}
	return 4*(len(line)-len(trimmed))+utf8.RuneCountInString(trimmed) > MaxColumns
}

// Markdown returns the lines of a page that are not in fenced blocks or HTML comments.
func Markdown(content []byte) []Line {
	var lines []Line
	fenced := false
	for number, text := range strings.Split(string(content), "\n") {
		switch {
		case strings.HasPrefix(strings.TrimSpace(text), "```"):
			fenced = !fenced
		case fenced, strings.HasPrefix(strings.TrimSpace(text), "<!--"):
		default:
			lines = append(lines, Line{Number: number + 1, Text: codeSpan.ReplaceAllString(text, " ")})
		}
	}
	return lines
}

// Words counts the words of a text.
func Words(text string) int { return len(word.FindAllString(text, -1)) }

var word = regexp.MustCompile(`[A-Za-z']+`)

// Files returns the names of the Go files and Markdown pages of a tree, without test
// data, hidden directories and dependencies of web pages.
func Files(tree fs.FS) (names []string, err error) {
	err = fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() {
			if name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(base, ".go") || strings.HasSuffix(base, ".md") {
			names = append(names, name)
		}
		return nil
	})
	return names, err
}
