// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package logging_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/internal/logging"
	"github.com/kubembed/kubembed/internal/upstream"
)

// TestExpectationsAreUpstreams: upstream still has each text in its place. A changed text
// would be a warning again, and a removed one should be deleted.
func TestExpectationsAreUpstreams(t *testing.T) {
	var entries []upstream.Entry
	for _, e := range slices.Concat(logging.Expectations, logging.Faults) {
		if e.Why == "" {
			t.Errorf("%q has no reason", e.Text)
		}
		entries = append(entries, upstream.Entry{
			Ours: "internal/logging/expected.go", Package: e.Package, Decl: e.File, Has: []string{strings.Trim(strconv.Quote(e.Text), `"`)},
			Look: "Write the new text and its package in the list, or delete what is gone.",
		})
	}
	differences, err := upstream.Differences("../..", entries)
	if err != nil {
		t.Fatal(err)
	}
	for _, difference := range differences {
		t.Error(difference)
	}
}
