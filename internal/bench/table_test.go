package main

import (
	"os"
	"path/filepath"
	"slices"
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

func TestVerdict(t *testing.T) {
	least := bar{side: own, peer: envtest, atLeast: true, bar: 1.5, aim: 2.5}
	most := bar{side: own, peer: envtest, bar: 0.1, aim: 0.05}
	alone := bar{side: own, bar: 30, aim: 15}
	for _, c := range []struct {
		bar          bar
		ours, theirs []float64
		want         string
	}{
		{least, []float64{25}, []float64{10}, "aim"},
		{least, []float64{15, 1, 99}, []float64{10}, "bar"},
		{least, []float64{14}, []float64{10}, "**missed**"},
		{most, []float64{1}, []float64{20}, "aim"},
		{most, []float64{1}, []float64{10}, "bar"},
		{most, []float64{2}, []float64{10}, "**missed**"},
		{most, []float64{2}, nil, ""},
		{most, nil, []float64{10}, ""},
		{alone, []float64{30}, nil, "bar"},
		{alone, []float64{31}, nil, "**missed**"},
	} {
		f := figure{sides: map[string][]float64{}}
		if c.ours != nil {
			f.sides[own] = c.ours
		}
		if c.theirs != nil {
			f.sides[envtest] = c.theirs
		}
		if got := c.bar.verdict(f); got != c.want {
			t.Errorf("%+v of %v and %v: got %q, want %q", c.bar, c.ours, c.theirs, got, c.want)
		}
	}
}

func TestBarsAndDrawingsAreOfSections(t *testing.T) {
	for _, b := range bars {
		s, ok := findSection(b.section)
		if !ok || !slices.Contains(s.sides, b.side) || b.peer != "" && !slices.Contains(s.sides, b.peer) {
			t.Errorf("unknown section or side: %+v", b)
		}
		if b.atLeast && b.aim < b.bar || !b.atLeast && b.aim > b.bar {
			t.Errorf("the aim is below the bar: %+v", b)
		}
	}
	for _, d := range drawings {
		if _, ok := findSection(d.section); !ok {
			t.Errorf("unknown section: %+v", d)
		}
	}
	for _, s := range sections {
		for _, pair := range s.ratios {
			if !slices.Contains(s.sides, pair[0]) || !slices.Contains(s.sides, pair[1]) {
				t.Errorf("%s: unknown sides: %v", s.name, pair)
			}
		}
	}
}

func TestBarsOf(t *testing.T) {
	for figure, want := range map[string]int{
		"create, 16 clients: rate":          2,
		"create, 128 clients: rate":         0,
		"create at 500/s, 16 clients: p99":  2,
		"create at 500/s, 16 clients: p50":  0,
		"create at 500/s, 128 clients: p99": 0,
	} {
		if got := len(barsOf("requests", figure)); got != want {
			t.Errorf("%s: got %d bars, want %d", figure, got, want)
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
		"| start to first stored pod | 120 ms (100–140) | 2400 ms (2000–2800) | 0.05 | kubembed / envtest ≤ 0.1 (0.05) | aim |",
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
