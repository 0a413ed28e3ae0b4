// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upkeep

import (
	"testing"
	"time"
)

// TestTurnsAreApart: no two members begin within half a turn of each other, and each has
// one turn in every round.
func TestTurnsAreApart(t *testing.T) {
	begin := time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)
	for members := 2; members <= 7; members++ {
		turns := map[int]int{}
		last, lastAt := -1, begin.Add(-time.Hour)
		for now := begin; now.Before(begin.Add(2 * turnLength * time.Duration(members))); now = now.Add(100 * time.Millisecond) {
			for index := range members {
				wait := untilTurn(now, index, members)
				if wait > 0 {
					if more := untilTurn(now.Add(wait), index, members); more != 0 {
						t.Fatalf("member %d of %d at %v has to wait %v, and then %v more", index, members, now, wait, more)
					}
					continue
				}
				if index != last && now.Sub(lastAt) < turnLength/2 {
					t.Fatalf("%d of %d may begin %v after %d", index, members, now.Sub(lastAt), last)
				}
				if index != last {
					turns[index]++
				}
				last, lastAt = index, now
			}
		}
		if len(turns) != members {
			t.Errorf("of %d members these have turns: %v", members, turns)
		}
	}
}
