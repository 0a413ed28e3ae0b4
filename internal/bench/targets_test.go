// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"
)

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
		"create, 16 clients: rate":          3,
		"create, 128 clients: rate":         0,
		"create at 500/s, 16 clients: p99":  3,
		"create at 500/s, 16 clients: p50":  0,
		"create at 500/s, 128 clients: p99": 0,
	} {
		if got := len(barsOf("requests", figure)); got != want {
			t.Errorf("%s: got %d bars, want %d", figure, got, want)
		}
	}
}
