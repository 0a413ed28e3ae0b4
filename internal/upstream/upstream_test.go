// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"flag"
	"testing"
)

var digests = flag.Bool("digests", false, "log the digest of every declaration of the entries")

// TestDrift fails for every difference between upstream and the entries. Read upstream's
// change and follow it in the code that the failure names; then correct the entry.
func TestDrift(t *testing.T) {
	differences, err := Differences("../..", Entries())
	if err != nil {
		t.Fatal(err)
	}
	for _, difference := range differences {
		t.Error(difference)
	}
	if *digests {
		logDigests(t)
	}
}

func logDigests(t *testing.T) {
	c, err := newChecker("../..", Entries())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range Entries() {
		if text, err := c.upstreamText(e); err == nil {
			t.Logf("%s %s", digest(text), e.place())
		}
	}
}
