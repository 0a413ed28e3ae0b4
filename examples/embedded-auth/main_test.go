// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

// TestRun: the session says who creates the object, the table says who may, and the label
// comes from the plugin.
func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"alice: labels map[cost-centre:shop], error <nil>",
		`bob: labels map[], error configmaps is forbidden: User "bob" cannot create resource "configmaps"`,
		"not in the table of rights",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got\n%s, want %q in it", &out, want)
		}
	}
}
