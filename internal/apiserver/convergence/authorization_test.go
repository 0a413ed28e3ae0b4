// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence

import (
	"testing"

	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// TestConditionalDecisionsAreThoseOfAuthorize verifies that the authorizer does not embed
// upstream's interface. If it did, it would have the interface's method for conditional
// decisions, which bypasses its own Authorize.
func TestConditionalDecisionsAreThoseOfAuthorize(t *testing.T) {
	for _, ours := range []any{currentAuthorizer{}, &currentAuthorizer{}} {
		if _, embedded := ours.(authorizer.Authorizer); embedded {
			t.Errorf("%T implements authorizer.Authorizer, want Authorize only", ours)
		}
	}
}
