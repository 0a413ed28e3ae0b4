// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"slices"
	"strings"
	"testing"
)

// TestParse: files as people write them and tools generate them.
func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, data string
		want       []string // as in messages
	}{
		{"one", "kind: A\nmetadata: {name: a}", []string{`f (A "a")`}},
		{"separators", "# license\n---\n---\nkind: A\n--- # source\nkind: B\n---\r\nkind: C\r\n---\n", []string{`f, document 1 (A "")`, `f, document 2 (B "")`, `f, document 3 (C "")`}},
		{"directive", "%YAML 1.2\n---\nkind: A\n", []string{`f (A "")`}},
		{"text that looks like a separator", "kind: A\ndata:\n  x: |\n    ---\n    kind: B\n  y: ---z\n---x: 1\n", []string{`f (A "")`}},
		{"JSON stream", `{"kind": "A"}` + "\n" + `{"kind": "B"}`, []string{`f (A "")`, `f (B "")`}},
		{"YAML in braces", "{kind: A, metadata: {name: a}}", []string{`f (A "a")`}},
		{"list", "kind: FooList\nitems:\n- kind: A\n- kind: List\n  items: [{kind: B}]\n", []string{`f, item 1 (A "")`, `f, item 1 (B "")`}},
		{"list without items", "kind: AList\n", []string{`f (AList "")`}},
		{"no objects", "a: b\n---\n- c\n---\nd\n---\nkind: [x]\n", nil},
		{"nothing", "", nil},
	} {
		found, err := parse("f", []byte(c.data))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var got []string
		for _, m := range found {
			got = append(got, m.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	_, err := parse("f", []byte("kind: A\n---\nx: {\n---\nkind: B\n---\n\n y: 1\n z: [\n"))
	for _, want := range []string{"f, document 2: yaml: line 3:", "f, document 4: yaml: line 9:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}
