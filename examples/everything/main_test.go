// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out strings.Builder
	if err := run(ctx, &out); err != nil {
		t.Fatal(err)
	}
	// The scheduler spreads them.
	for _, node := range []string{"node-0", "node-1", "node-2"} {
		if pods := regexp.MustCompile(`(?m)^web-\S+ is Running on `+node+`$`).FindAllString(out.String(), -1); len(pods) != 1 {
			t.Errorf("%d pods run on %s:\n%s", len(pods), node, out.String())
		}
	}
}
