// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   statistics
	}{
		{[]float64{3}, statistics{3, 3, 3}},
		{[]float64{4, 1, 2}, statistics{2, 1, 4}},
		{[]float64{4, 1, 2, 3}, statistics{2.5, 1, 4}},
	} {
		if got := spread(c.values); got != c.want {
			t.Errorf("%v: got %v, want %v", c.values, got, c.want)
		}
	}
}

func TestDigits(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0", 0.0123: "0.012", 0.1: "0.1", 0.4567: "0.46", 1: "1", 9.994: "9.99", 9.999: "10", 12.34: "12.3", 99.96: "100", 100.4: "100", 1234: "1234", -5.5: "-5.5",
	} {
		if got := digits(value); got != want {
			t.Errorf("%v: got %q, want %q", value, got, want)
		}
	}
}

// TestReport: the report has a table with all available results, and plots.
func TestReport(t *testing.T) {
	directory := t.TempDir()
	r := &results{Header: header{{"kubembed", "commit 123, build abc"}}}
	for run, ms := range []float64{100, 140, 120} {
		r.Measurements = append(r.Measurements,
			result{Section: "start", Side: own, Run: run, Build: "abc", Metrics: []metric{{startName, "ms", ms}, {memoryName, "MiB", 150}}},
			result{Section: "start", Side: envtest, Run: run, Build: "abc", Metrics: []metric{{startName, "ms", ms * 20}, {memoryName, "MiB", 300}}},
		)
	}
	for i, pods := range []string{"1000", "10000"} {
		r.Measurements = append(r.Measurements, result{
			Section: "growth", Side: own, Run: i, Build: "old", Metrics: []metric{{pods + " pods: memory, resident", "MiB", float64(100 * (i + 1))}},
		})
	}
	if err := r.report(directory); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(directory, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| start to first stored pod | 120 ms (100–140) | 2400 ms (2000–2800) | 0.05 | kubembed / envtest ≤ 0.062 (0.05) | aim |",
		"| idle memory of the control plane, resident | 150 MiB (150–150) | 300 MiB (300–300) | 0.5 | kubembed / envtest ≤ 0.4 (0.25) | **missed** |",
		"Measured with build old",
		"(growth-memory.svg)",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report has no %q:\n%s", want, text)
		}
	}
	for _, plot := range []string{"start.svg", "memory.svg", "growth-memory.svg"} {
		svg, err := os.ReadFile(filepath.Join(directory, plot))
		if err != nil || !strings.Contains(string(svg), "<svg") {
			t.Errorf("%s is not SVG: %v", plot, err)
		}
	}
	again, err := loadResults(directory)
	if err != nil || len(again.Measurements) != len(r.Measurements) || !again.has("start", envtest, 2) || again.has("start", inOne, 0) {
		t.Errorf("after reading again: got %d measurements, %v", len(again.Measurements), err)
	}
	if n := again.keep("growth", "new", sizes{}); n != 2 || again.has("growth", own, 0) || !again.has("start", own, 0) {
		t.Errorf("got %d dropped measurements of another build", n)
	}
}
