// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package informers

import "testing"

// TestNewName verifies that running servers have different names and that the name of a
// stopped server is available again.
func TestNewName(t *testing.T) {
	first, second := NewName(), NewName()
	if first.Name() == second.Name() {
		t.Errorf("two servers have the name %s", first.Name())
	}
	name := first.Name()
	first.Release()
	third := NewName()
	if third.Name() != name {
		t.Errorf("got %[2]s after Release, want %[1]s", name, third.Name())
	}
	second.Release()
	third.Release()
}
