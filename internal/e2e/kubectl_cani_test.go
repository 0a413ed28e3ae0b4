// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// landlord lets the user tenant read pod templates, and lists that as a rule.
type landlord struct{ authorizer.AuthorizerFunc }

func newLandlord() landlord {
	return landlord{func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if a.GetUser().GetName() == "tenant" && a.GetVerb() == "get" && a.GetResource() == "podtemplates" {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	}}
}

func (landlord) RulesFor(_ context.Context, info user.Info, _ string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if info.GetName() != "tenant" {
		return nil, nil, false, nil
	}
	return []authorizer.ResourceRuleInfo{&authorizer.DefaultResourceRuleInfo{
		Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"podtemplates"},
	}}, nil, false, nil
}

// TestKubectlListsRulesOfTheHost: kubectl auth can-i knows the host's authorizers.
func TestKubectlListsRulesOfTheHost(t *testing.T) {
	_, server := startServer(t, controlplane.Config{Authorization: apiserver.Authorization{
		Authorizers: []apiserver.Authorizer{{Name: "landlord", Authorizer: newLandlord()}},
	}})
	for name, listed := range map[string]bool{"tenant": true, "guest": false} {
		kubeconfig, err := server.Kubeconfig(name)
		if err != nil {
			t.Fatal(err)
		}
		k := kubectlFor(t, kubeconfig)
		out := k.run(t, "", "auth", "can-i", "--list")
		if out.code != 0 || strings.Contains(out.stdout, "podtemplates") != listed || strings.Contains(out.stderr, "incomplete") {
			t.Errorf("%s: got %s, want pod templates: %t", name, out, listed)
		}
		if got := k.run(t, "", "auth", "can-i", "get", "podtemplates/one"); strings.HasPrefix(got.stdout, "yes") != listed {
			t.Errorf("%s: got %s, want yes: %t", name, got, listed)
		}
	}
}
