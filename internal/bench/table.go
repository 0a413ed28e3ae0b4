// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// report writes the tables and plots of the available results.
func (r *results) report(directory string) (err error) {
	if len(r.Measurements) == 0 {
		return nil
	}
	if err := r.save(directory); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(directory, "README.md"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	r.writeHeader(file)
	for _, s := range r.sections() {
		figures := r.figures(s.name)
		if len(figures) == 0 {
			continue
		}
		fmt.Fprintf(file, "\n## %s\n\n%s\nMeasured in %s.\n\n", s.title, s.about, r.took(s.name))
		if note := r.mixed(s.name); note != "" {
			fmt.Fprintf(file, "%s\n\n", note)
		}
		writeTable(file, s, figures)
		plots, err := plotSection(directory, s, figures)
		if err != nil {
			return err
		}
		fmt.Fprintln(file)
		for _, plot := range plots {
			fmt.Fprintf(file, "![%s](%s)\n", plot.title, plot.file)
		}
	}
	return nil
}

func (r *results) writeHeader(w io.Writer) {
	title := "Comparison with the peers"
	if r.againstEarlier() {
		title = "Comparison with an earlier state"
	}
	fmt.Fprint(w, "# "+title+"\n\n`go run ./internal/bench` writes this page, and its documentation describes the sides. Each cell is the median of all runs, with minimum and maximum. "+
		"A ratio compares two medians. Every measurement is in results.json.\n\n| | |\n|---|---|\n")
	for _, line := range slices.Concat(r.Header, settings) {
		fmt.Fprintf(w, "| %s | %s |\n", line[0], line[1])
	}
}

// mixed returns a note if a part of the section is from another build than the header's.
func (r *results) mixed(section string) string {
	for _, m := range r.Measurements {
		if m.Section == section && !slices.ContainsFunc(r.Header, func(line [2]string) bool { return strings.HasSuffix(line[1], m.Build) }) {
			return fmt.Sprintf("Measured with build %s and Kubernetes %s, on %s.", m.Build, m.Kubernetes, m.Began.Format("2006-01-02"))
		}
	}
	return ""
}

// head returns the value of a line of the header.
func (r *results) head(name string) string {
	for _, line := range r.Header {
		if line[0] == name {
			return line[1]
		}
	}
	return ""
}

// writeTable omits sides without figures.
func writeTable(w io.Writer, s section, figures []figure) {
	has := func(side string) bool {
		return slices.ContainsFunc(figures, func(f figure) bool { return len(f.sides[side]) > 0 })
	}
	titles, rules := []string{""}, []string{"---"}
	column := func(title string) {
		titles, rules = append(titles, title), append(rules, "---:")
	}
	var sides []string
	for _, side := range s.sides {
		if has(side) {
			sides = append(sides, side)
			column(side)
		}
	}
	var ratios [][2]string
	for _, pair := range s.ratios {
		if has(pair[0]) && has(pair[1]) {
			ratios = append(ratios, pair)
			column(short(pair[0]) + " / " + pair[1])
		}
	}
	titles, rules = append(titles, "bar (aim)", "reached"), append(rules, "---", "---")
	line := func(cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	line(titles)
	line(rules)
	for _, f := range figures {
		cells := []string{f.name}
		for _, side := range sides {
			cells = append(cells, cell(f.sides[side], f.unit))
		}
		for _, pair := range ratios {
			cells = append(cells, ratio(f.sides[pair[0]], f.sides[pair[1]]))
		}
		var targets, reached []string
		for _, b := range barsOf(s.name, f.name) {
			if verdict := b.verdict(f); verdict != "" {
				targets, reached = append(targets, b.text(f.unit)), append(reached, verdict)
			}
		}
		line(append(cells, strings.Join(targets, "; "), strings.Join(reached, "; ")))
	}
}

func cell(values []float64, unit string) string {
	if len(values) == 0 {
		return ""
	}
	s := spread(values)
	text := strings.TrimSpace(digits(s.median) + " " + unit)
	if len(values) > 1 {
		text += fmt.Sprintf(" (%s–%s)", digits(s.least), digits(s.most))
	}
	return text
}

func ratio(ours, theirs []float64) string {
	if len(ours) == 0 || len(theirs) == 0 || spread(theirs).median == 0 {
		return ""
	}
	return digits(spread(ours).median / spread(theirs).median)
}

type statistics struct{ median, least, most float64 }

func spread(values []float64) statistics {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return statistics{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]}
}

// digits formats three significant digits.
func digits(f float64) string {
	places := 2
	switch abs := math.Abs(f); {
	case abs >= 99.95:
		places = 0
	case abs >= 9.995:
		places = 1
	case abs < 0.0995 && abs > 0:
		places = 3
	}
	text := fmt.Sprintf("%.*f", places, f)
	if strings.Contains(text, ".") {
		text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	}
	return text
}
