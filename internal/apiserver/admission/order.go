// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import "slices"

// Placement is the place of a plugin of the host.
type Placement struct{ Name, Before string }

// Order returns the names of upstream's plugins and of the host's in the order of their
// calls. Plugins of the host with the same Before are called in the order of placements.
// unplaced are the indices of placements whose Before is not in the result: it is
// unknown, or is placed before the plugin itself.
func Order(upstream []string, placements []Placement) (names []string, unplaced []int) {
	names = slices.Clone(upstream)
	for i := range placements {
		unplaced = append(unplaced, i)
	}
	for {
		var left []int
		for _, i := range unplaced {
			at := slices.Index(names, placements[i].Before)
			if at < 0 {
				left = append(left, i)
				continue
			}
			names = slices.Insert(names, at, placements[i].Name)
		}
		if len(left) == len(unplaced) || len(left) == 0 {
			return names, left
		}
		unplaced = left
	}
}
