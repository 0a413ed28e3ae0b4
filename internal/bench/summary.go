// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// This command writes the lines of a page between these two.
const (
	summaryBegin = "<!-- bench: what follows is written by go run ./internal/bench -readme -->"
	summaryEnd   = "<!-- bench: end -->"
)

// summaryHeader are the lines of the header that the summary has.
var summaryHeader = []string{"date", "cores", "Go", "k8s.io/kubernetes", "sigs.k8s.io/controller-runtime", "kubembed"}

// summarize replaces the summary in a page by a summary of the results in a directory.
func (r *results) summarize(page, directory string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, begun := bytes.Cut(text, []byte(summaryBegin+"\n"))
	_, after, ended := bytes.Cut(rest, []byte(summaryEnd+"\n"))
	if !begun || !ended {
		return fmt.Errorf("-readme: %s must have the lines %q and %q around the summary", page, summaryBegin, summaryEnd)
	}
	link, err := filepath.Rel(filepath.Dir(page), directory)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	out.Write(before)
	fmt.Fprintln(&out, summaryBegin)
	r.writeSummary(&out, filepath.ToSlash(link))
	fmt.Fprintln(&out, summaryEnd)
	out.Write(after)
	return os.WriteFile(page, out.Bytes(), 0o644)
}

// writeSummary writes a line for each figure of the summary, with the first bar of a
// measured side, and the plots of the summary.
func (r *results) writeSummary(w io.Writer, link string) {
	fmt.Fprint(w, "\n| | ours | peer | ratio | bar (aim) | |\n|---|---:|---:|---:|---|---|\n")
	for _, s := range sections {
		for _, f := range r.figures(s.name) {
			if !slices.ContainsFunc(s.summary, func(end string) bool { return strings.HasSuffix(f.name, end) }) {
				continue
			}
			bars := barsOf(s.name, f.name)
			first := slices.IndexFunc(bars, func(b bar) bool { return b.verdict(f) != "" })
			if first < 0 { // not measured
				continue
			}
			b := bars[first]
			peer, compared := "", ""
			if b.peer != "" {
				peer = cell(f.sides[b.peer], f.unit) + " " + b.peer
				compared = ratio(f.sides[b.side], f.sides[b.peer])
			}
			fmt.Fprintf(w, "| %s: %s | %s | %s | %s | %s | %s |\n", s.title, f.name, cell(f.sides[b.side], f.unit), peer, compared, b.limits(f.unit), b.verdict(f))
		}
	}
	fmt.Fprintln(w)
	for _, d := range drawings {
		if d.summary && len(r.figures(d.section)) > 0 {
			fmt.Fprintf(w, "![%s](%s/%s.svg)\n", d.title, link, d.file)
		}
	}
	var head []string
	for _, line := range r.Header {
		if slices.Contains(summaryHeader, line[0]) {
			head = append(head, line[0]+" "+line[1])
		}
	}
	var notes []string
	titles := map[string][]string{}
	for _, s := range sections {
		note := r.mixed(s.name)
		if note == "" || len(s.summary) == 0 {
			continue
		}
		if titles[note] == nil {
			notes = append(notes, note)
		}
		titles[note] = append(titles[note], s.title)
	}
	fmt.Fprintf(w, "\nMedian of all runs, with minimum and maximum. [All figures](%s/README.md), with the other bars, met and missed, and the conditions that all sides share. %s.\n\n", link, strings.Join(head, "; "))
	for _, note := range notes {
		fmt.Fprintf(w, "%s: %s\n\n", strings.Join(titles[note], "; "), note)
	}
}
