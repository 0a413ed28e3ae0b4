// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/bench/effects"
)

// TestEffectsOfBarsAndSummaryExist: a renamed effect would lose its bar silently.
func TestEffectsOfBarsAndSummaryExist(t *testing.T) {
	names := effects.Names()
	for name := range constantDelays {
		if !slices.Contains(names, name) {
			t.Errorf("constantDelays: unknown effect %q", name)
		}
	}
	for _, figure := range effectsSection.summary {
		if name, ok := strings.CutSuffix(figure, medianEnd); !ok || !slices.Contains(names, name) {
			t.Errorf("summary: unknown figure %q", figure)
		}
	}
}

// TestBarsOfEffects: the bars of one effect are not those of another whose name it ends.
func TestBarsOfEffects(t *testing.T) {
	for _, name := range effects.Names() {
		want := 2
		if constantDelays[name] > 0 {
			want = 4
		}
		if got := len(barsOf("effects", name+medianEnd)); got != want {
			t.Errorf("%s: got %d bars, want %d", name, got, want)
		}
	}
}
