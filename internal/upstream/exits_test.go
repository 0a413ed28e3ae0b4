// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"runtime"
	"testing"
)

// TestExits: no linked code ends the host's process in an unlisted way.
func TestExits(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the list is of Linux")
	}
	found, err := findExits("../..", "./pkg/...")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range Exits {
		if e.Why == "" {
			t.Errorf("%s has no reason", e.Package)
		}
		for _, difference := range sets("Package "+e.Package, "places that end the process", e.Decls, found[e.Package]) {
			t.Error(difference)
		}
		delete(found, e.Package)
	}
	for path, decls := range found {
		t.Errorf("Package %s is linked and can end the host's process, in %v: make sure that it does not, and add it to Exits.", path, decls)
	}
}
