// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The three versions of the suite have the same test files.
func TestSuitesAreTheSame(t *testing.T) {
	for _, name := range []string{"page_test.go", "manager_test.go"} {
		before, err := os.ReadFile(filepath.Join("before", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, directory := range []string{"oneline", "after"} {
			other, err := os.ReadFile(filepath.Join(directory, name))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(before, other) {
				t.Errorf("%s differs in before and %s: copy one to the other", name, directory)
			}
		}
	}
}
