// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package inprocess

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// FuzzCopyHeader checks that a copy has all values under canonical names, without those
// that are left out, and shares nothing with the original.
func FuzzCopyHeader(f *testing.F) {
	f.Add("Accept", "a", "accept", "b", "Connection")
	f.Add("", "", "X", "", "X")
	f.Add("x y", "1", "X Y", "2", "")
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2, left string) {
		original := http.Header{}
		original[key1] = append(original[key1], value1, value2)
		original[key2] = append(original[key2], value2)
		left = http.CanonicalHeaderKey(left)
		want := map[string][]string{}
		for key, values := range original {
			if canonical := http.CanonicalHeaderKey(key); canonical != left {
				want[canonical] = append(want[canonical], values...)
			}
		}
		got := copyHeader(original, func(key string) bool { return key != left })
		if len(got) != len(want) {
			t.Errorf("got %q, want %q", got, want)
		}
		for key, values := range want {
			have := slices.Sorted(slices.Values(got[key])) // two spellings come in any order
			if slices.Sort(values); !slices.Equal(have, values) {
				t.Errorf("%q: got %q, want %q", key, have, values)
			}
		}
		before := strings.Join(original[key1], "\x00")
		for key := range got {
			got[key] = append(got[key], "more")
			got[key][0] = "changed"
		}
		if now := strings.Join(original[key1], "\x00"); now != before {
			t.Errorf("a change of the copy changes the original: %q, was %q", now, before)
		}
		for key, values := range got {
			if last := values[len(values)-1]; last != "more" {
				t.Errorf("%q ends with %q: two fields share their values", key, last)
			}
		}
	})
}
