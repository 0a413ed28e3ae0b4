// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestParseField(t *testing.T) {
	const text = "processor\t: 0\nmodel name\t: Some CPU\nmodel name\t: Another\n"
	if got, err := parseField(strings.NewReader(text), "model name"); err != nil || got != "Some CPU" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := parseField(strings.NewReader(text), "MemTotal"); err != nil || got != "unknown" {
		t.Errorf("got %q, %v", got, err)
	}
}
