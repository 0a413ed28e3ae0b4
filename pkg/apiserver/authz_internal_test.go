package apiserver

import (
	"testing"

	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// TestConditionalDecisionsAreThoseOfAuthorize: an authorizer that embeds upstream's interface has
// its method for conditional decisions, too, which goes around what it adds to Authorize.
func TestConditionalDecisionsAreThoseOfAuthorize(t *testing.T) {
	for _, ours := range []any{joinAuthorizer{}, &joinAuthorizer{}} {
		if _, embedded := ours.(authorizer.Authorizer); embedded {
			t.Errorf("%T has methods of an embedded authorizer", ours)
		}
	}
}
