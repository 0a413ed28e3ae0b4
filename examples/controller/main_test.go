// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestController(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "ADDED team\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
