// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package golden

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCompare: every difference needs a reason, and every reason a difference.
func TestCompare(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("a\nb\nc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		ours      string
		explained []Difference
		want      string
	}{
		{ours: "a b c"},
		{ours: "a c", want: "-b"},
		{ours: "a b c d", want: "+d"},
		{ours: "a c b", want: "order: c where it should be b"},
		{ours: "a c", explained: []Difference{{File: "file", Lines: "-b", Reason: "why"}}},
		{ours: "a c", explained: []Difference{{File: "file", Lines: "-b", Reason: ""}}, want: "no reason"},
		{ours: "a c", explained: []Difference{{File: "file", Lines: "-", Reason: "why"}}, want: "-b"},
		{ours: "a b c", explained: []Difference{{File: "file", Lines: "-b", Reason: "why"}}, want: "remove its entry"},
		{ours: "a b c", explained: []Difference{{File: "another", Lines: "-b", Reason: "why"}}},
	} {
		err := Compare(dir, Lines{"file": strings.Fields(test.ours)}, test.explained)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s %v: got %v, want %q", test.ours, test.explained, err, test.want)
		}
	}
}
