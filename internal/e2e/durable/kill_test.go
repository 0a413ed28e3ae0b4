// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"strings"
	"testing"
)

func TestKill(t *testing.T) {
	n := *cycles
	if testing.Short() {
		n = 5
	}
	h := newHarness(t, t.TempDir())
	run(t, h, n)
}

// run crashes n times, and stops at the first finding.
func run(t *testing.T, h *harness, n int) {
	t.Helper()
	for i := range n {
		if err := h.cycle(); err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		if (i+1)%10 == 0 {
			t.Logf("%d cycles: %s", i+1, h.summary())
		}
		wantNothing(t, h)
	}
	if err := h.finish(); err != nil {
		t.Fatal(err)
	}
	wantNothing(t, h)
	t.Logf("%d crashes: %s", n+h.early, h.summary())
}

func wantNothing(t *testing.T, h *harness) {
	t.Helper()
	if found := h.log.Found(); len(found) > 0 {
		t.Fatalf("%d found:\n%s", len(found), strings.Join(found[:min(20, len(found))], "\n"))
	}
}

// TestEarlyAcknowledgementIsFound is a mutant: TestKill would find a control plane that
// acknowledges writes before it has stored them.
func TestEarlyAcknowledgementIsFound(t *testing.T) {
	h := newHarness(t, t.TempDir())
	for _, w := range h.writers {
		w.early = true
	}
	for i := range 20 {
		if err := h.cycle(); err != nil {
			t.Fatal(err)
		}
		for _, found := range h.log.Found() {
			if strings.Contains(found, ": lost: ") {
				t.Logf("in cycle %d: %s", i, found)
				return
			}
		}
	}
	t.Error("it was not noticed in 20 cycles")
}
