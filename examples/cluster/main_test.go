// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out strings.Builder
	if err := run(ctx, &out); err != nil {
		t.Fatal(err)
	}
	want := "written through a\nwithout a, read through b: hello\nwithout a, read through c: hello\n"
	if got := out.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
