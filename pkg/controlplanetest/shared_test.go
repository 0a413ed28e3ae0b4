// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest_test

import (
	"testing"

	"github.com/kubembed/kubembed/pkg/controlplanetest"
)

// Each test has its own handle on the same server.
func TestShared(t *testing.T) {
	cp := controlplanetest.Shared(t)
	list(t, cp)
	if controlplanetest.Shared(t) != cp {
		t.Error("the second call of the test gave another one")
	}
	t.Run("parallel", func(t *testing.T) {
		for _, name := range []string{"a", "b", "c", "d"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				other := controlplanetest.Shared(t)
				if other == cp || other.URL() != cp.URL() {
					t.Error("not the same server for another test")
				}
				list(t, other)
			})
		}
	})
	list(t, cp) // not affected by the end of the others
}
