// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package convergence

import (
	"context"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// TestConditionalDecisionsWait verifies that the delegate makes conditional
// decisions, and that they wait for acknowledged roles, too.
func TestConditionalDecisionsWait(t *testing.T) {
	t.Parallel()
	roles := rbacSources[0]
	writes, lagging := newLagging(roles)
	writes.Observer(roles)(t.Context(), 7)
	delegate := conditional{decide: func() string {
		if writes.sources[roles].seen.Load() < 7 {
			return "too early"
		}
		return "current"
	}}
	ours := writes.Authorizer(delegate)
	jane := authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "jane"}}
	decided := make(chan authorizer.ConditionsAwareDecision)
	go func() { decided <- ours.ConditionsAwareAuthorize(t.Context(), jane) }()
	lagging.see(t, 7)
	if got := <-decided; !got.IsAllow() || got.Reason() != "current" {
		t.Errorf("got %v (%s), want the decision of the delegate after the wait", got, got.Reason())
	}
	if _, reason, err := ours.EvaluateConditions(t.Context(), authorizer.ConditionsAwareDecision{}, nil); reason != "evaluated" || err != nil {
		t.Errorf("got %q, %v, want the evaluation of the delegate", reason, err)
	}
}

// conditional is an authorizer with conditional decisions. Its Authorize panics.
type conditional struct {
	authorizer.Authorizer
	decide func() string
}

func (c conditional) ConditionsAwareAuthorize(context.Context, authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionAllow(c.decide(), nil)
}

func (conditional) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "evaluated", nil
}
