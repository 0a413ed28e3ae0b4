// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
)

func TestAgainst(t *testing.T) {
	s, ok := listSection.against()
	if want := []string{own, own + earlierSide, inProcess, inProcess + earlierSide}; !ok || !slices.Equal(s.sides, want) {
		t.Errorf("got sides %v, %v", s.sides, ok)
	}
	if want := [][2]string{{own, own + earlierSide}, {inProcess, inProcess + earlierSide}}; !slices.Equal(s.ratios, want) {
		t.Errorf("got ratios %v", s.ratios)
	}
	if len(listSection.sides) != 5 || slices.Contains(listSection.sides, own+earlierSide) {
		t.Errorf("the section itself has changed: %v", listSection.sides)
	}
	here := paths{Module: "/here", Against: "/there", Work: "/work"}
	if p, side := here.earlier(own + earlierSide); side != own || p.Module != "/there" || p.program(ownHost) == here.program(ownHost) {
		t.Errorf("got side %q, paths %+v", side, p)
	}
	if p, side := here.earlier(own); side != own || p != here {
		t.Errorf("got side %q, paths %+v", side, p)
	}
	r := &results{Measurements: []result{{Section: "list", Side: own + earlierSide}}}
	if sections := r.sections(); len(sections) == 0 || !slices.Contains(sections[0].sides, own+earlierSide) {
		t.Error("the report has the sides of a run with peers")
	}
}

func TestAgainstNoCheckout(t *testing.T) {
	if _, err := findAgainst(t.TempDir()); err == nil || !strings.HasPrefix(err.Error(), "-against: ") {
		t.Error(err)
	}
}

// TestAgainstAndPeersDoNotMix: a run with -against changes neither the summary of a page
// nor the results of a run with peers.
func TestAgainstAndPeersDoNotMix(t *testing.T) {
	before := &results{Measurements: []result{{Section: "list", Side: own + earlierSide}}}
	peers := &results{Measurements: []result{{Section: "list", Side: own}}}
	for _, test := range []struct {
		results *results
		bench   bench
		want    string
	}{
		{peers, bench{runs: 1, against: "there"}, "-out: "},
		{before, bench{runs: 1}, "-out: "},
		{before, bench{runs: 1, report: true, readme: "README.md"}, "-readme: "},
		{before, bench{runs: 1, against: "there", readme: "README.md"}, "-readme: "},
	} {
		test.bench.out = t.TempDir()
		if err := test.results.save(test.bench.out); err != nil {
			t.Fatal(err)
		}
		if err := test.bench.run(t.Context(), "list", ""); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("got error %v, want %q", err, test.want)
		}
	}
}
