// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"reflect"
	"testing"
)

func TestNumbers(t *testing.T) {
	var n numbers
	if err := n.Set("1, 16,128"); err != nil || n.String() != "1,16,128" {
		t.Errorf("got %s, %v", n.String(), err)
	}
	for _, bad := range []string{"", "0", "-1", "1,,2", "x"} {
		if err := n.Set(bad); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}

func TestSizesAreComplete(t *testing.T) {
	for name, s := range map[string]sizes{"full": fullSizes(), "quick": quickSizes()} {
		if err := s.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := fullSizes()
	s.Requests = numbers{1}
	if err := s.check(); err == nil {
		t.Error("got no error for missing numbers of requests")
	}
}

// TestSizesOfEffectsAreTheirs: other sections keep their measurements.
func TestSizesOfEffectsAreTheirs(t *testing.T) {
	s := fullSizes()
	s.Trials, s.Effects = 7, "policy"
	if got := s.of("effects"); got.Trials != 7 || got.Effects != "policy" {
		t.Errorf("effects: got %d trials of %q", got.Trials, got.Effects)
	}
	if got := s.of("start"); !reflect.DeepEqual(got, fullSizes().of("start")) {
		t.Errorf("start: got %+v", got)
	}
	s.Effects = "("
	if err := s.check(); err == nil {
		t.Error("got no error for an invalid expression")
	}
	s.Effects, s.Trials = "", 0
	if err := s.check(); err == nil {
		t.Error("got no error without trials")
	}
}
