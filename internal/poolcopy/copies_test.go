// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCopies: the copies are those of the present files.
func TestCopies(t *testing.T) {
	const root = "../.."
	for _, d := range copies {
		names, err := d.files(root)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			want, err := d.content(root, name)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(root, d.to, name)); string(got) != string(want) {
				t.Errorf("%s/%s is not %s/%s (%v): go run ./internal/poolcopy", d.to, name, d.from, name, err)
			}
		}
		stale, err := d.stale(root, names)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range stale {
			t.Errorf("%s/%s has no original: go run ./internal/poolcopy", d.to, name)
		}
	}
}
