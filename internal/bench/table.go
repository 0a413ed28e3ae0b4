package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// row is one measure on each side, once a run.
type row struct {
	name, unit string
	ours       []float64
	theirs     []float64
}

func printTable(w io.Writer, rows []row) {
	table := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintln(table, "|\t| kubembed\t| envtest\t| kubembed / envtest\t|")
	fmt.Fprintln(table, "|---\t|---\t|---\t|---\t|")
	for _, r := range rows {
		ours, theirs := spread(r.ours), spread(r.theirs)
		fmt.Fprintf(table, "| %s\t| %s %s\t| %s %s\t| %.2f\t|\n", r.name, ours, r.unit, theirs, r.unit, ours.median/theirs.median)
	}
	table.Flush()
}

type statistics struct{ median, least, most float64 }

func (s statistics) String() string {
	return fmt.Sprintf("%s (%s–%s)", figure(s.median), figure(s.least), figure(s.most))
}

// figure has three digits.
func figure(f float64) string {
	text := fmt.Sprintf("%.2f", f)
	if f >= 10 {
		text = fmt.Sprintf("%.1f", f)
	}
	if f >= 100 {
		text = fmt.Sprintf("%.0f", f)
	}
	return strings.TrimSuffix(text, ".00")
}

func spread(values []float64) statistics {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return statistics{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]}
}
