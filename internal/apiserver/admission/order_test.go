// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"slices"
	"strings"
	"testing"
)

func TestOrder(t *testing.T) {
	for _, c := range []struct {
		name       string
		placements []Placement
		want       string
		unplaced   []int
	}{
		{"none", nil, "first last", nil},
		{"in their order", []Placement{{"a", "last"}, {"b", "last"}, {"c", "first"}}, "c first a b last", nil},
		{"before one that is placed later", []Placement{{"a", "b"}, {"b", "c"}, {"c", "last"}}, "first a b c last", nil},
		{"unknown", []Placement{{"a", "lost"}, {"b", "last"}}, "first b last", []int{0}},
		{"in a circle", []Placement{{"a", "b"}, {"b", "a"}, {"c", "a"}}, "first last", []int{0, 1, 2}},
		{"before itself", []Placement{{"a", "a"}}, "first last", []int{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			upstream := []string{"first", "last"}
			names, unplaced := Order(upstream, c.placements)
			if got := strings.Join(names, " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if !slices.Equal(unplaced, c.unplaced) {
				t.Errorf("got unplaced %v, want %v", unplaced, c.unplaced)
			}
			if !slices.Equal(upstream, []string{"first", "last"}) {
				t.Errorf("the list of upstream has changed: %v", upstream)
			}
		})
	}
}
