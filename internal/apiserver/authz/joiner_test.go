package authz

import (
	"testing"

	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// TestConditionalDecisionsAreThoseOfAuthorize verifies that the authorizer does not embed
// upstream's interface. If it did, it would have the interface's method for conditional
// decisions, which bypasses its own Authorize.
func TestConditionalDecisionsAreThoseOfAuthorize(t *testing.T) {
	for _, ours := range []any{JoinAuthorizer{}, &JoinAuthorizer{}} {
		if _, embedded := ours.(authorizer.Authorizer); embedded {
			t.Errorf("%T implements authorizer.Authorizer, want Authorize only", ours)
		}
	}
}
