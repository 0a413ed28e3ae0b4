// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authz

import (
	"testing"

	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// TestConditionalDecisionsAreMadeByAuthorize: an authorizer that embeds upstream's
// interface also has its method for conditional decisions, which bypasses Authorize.
func TestConditionalDecisionsAreMadeByAuthorize(t *testing.T) {
	for _, ours := range []any{JoinAuthorizer{}, &JoinAuthorizer{}} {
		if _, embedded := ours.(authorizer.Authorizer); embedded {
			t.Errorf("%T implements authorizer.Authorizer, want Authorize only", ours)
		}
	}
}
