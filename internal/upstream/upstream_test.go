package upstream

import (
	"flag"
	"testing"
)

var digests = flag.Bool("digests", false, "log the digest of every declaration of the entries")

// TestDrift fails for everything in upstream that is no longer as this project expects it.
// Read upstream's change and follow it in the place that the failure names; then correct the entry.
func TestDrift(t *testing.T) {
	entries := Entries()
	c, err := newChecker("../..", entries)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		for _, difference := range c.differences(e) {
			t.Errorf("%s: %s", e.Ours, difference)
		}
		if *digests {
			if text, err := c.upstreamText(e); err == nil {
				t.Logf("%s %s", digest(text), e.place())
			}
		}
	}
}
