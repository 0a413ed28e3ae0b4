// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authz

import (
	"context"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/kubembed/kubembed/internal/join"
)

// TestConditionalDecisionsOfJoiners verifies that both kinds of decisions see the changed
// request.
func TestConditionalDecisionsOfJoiners(t *testing.T) {
	t.Parallel()
	var verb string
	ours := JoinAuthorizer{authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		verb = a.GetVerb()
		return authorizer.DecisionAllow, "", nil
	})}
	list := authorizer.AttributesRecord{
		ResourceRequest: true, Verb: "list", APIGroup: "certificates.k8s.io", Resource: "certificatesigningrequests", Name: "one",
		User: &user.DefaultInfo{Groups: []string{join.Group}},
	}
	if _, _, err := ours.Authorize(t.Context(), list); err != nil || verb != "get" {
		t.Errorf("Authorize: got verb %q, %v, want get", verb, err)
	}
	verb = ""
	if d := ours.ConditionsAwareAuthorize(t.Context(), list); !d.IsAllow() || verb != "get" {
		t.Errorf("ConditionsAwareAuthorize: got verb %q, %v, want get", verb, d)
	}
}
