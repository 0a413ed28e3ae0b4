// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"reflect"
	"testing"
)

// TestStoredResults: the stored results still match the sections, sides and sizes of
// this program. A key that is renamed in one of them only would drop a measurement, or
// read its size as zero.
func TestStoredResults(t *testing.T) {
	r, err := loadResults("results")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Measurements) == 0 {
		t.Fatal("no measurements")
	}
	sides := map[string]map[string]bool{}
	for _, s := range sections {
		sides[s.name] = map[string]bool{}
		for _, side := range s.sides {
			sides[s.name][side] = true
		}
	}
	for _, m := range r.Measurements {
		if !sides[m.Section][m.Side] {
			t.Errorf("section %q has no side %q", m.Section, m.Side)
		}
		if want := fullSizes().of(m.Section); !reflect.DeepEqual(m.Sizes, want) {
			t.Fatalf("%s of %s: got sizes %+v, want %+v", m.Section, m.Side, m.Sizes, want)
		}
	}
}
