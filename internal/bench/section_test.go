// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestChooseSections(t *testing.T) {
	for _, c := range []struct{ only, skip, has, hasNot string }{
		{"", "", "start", "cold"},
		{"cold", "", "cold", "start"},
		{"start,list", "list", "start", "list"},
		{"", "crds", "start", "crds"},
	} {
		chosen, err := chooseSections(c.only, c.skip)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range chosen {
			names = append(names, s.name)
		}
		text := "," + strings.Join(names, ",") + ","
		if !strings.Contains(text, ","+c.has+",") || strings.Contains(text, ","+c.hasNot+",") {
			t.Errorf("-only=%s -skip=%s: got %s", c.only, c.skip, names)
		}
	}
	if _, err := chooseSections("starts", ""); err == nil {
		t.Error("got no error for an unknown section")
	}
}
