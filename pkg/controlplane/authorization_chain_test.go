// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"strings"
	"testing"

	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// denyUser is an authorizer of the host that denies a user everything.
func denyUser(name string) authorizer.Authorizer {
	return authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if a.GetUser().GetName() == name {
			return authorizer.DecisionDeny, "not in the table", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})
}

// TestAuthorizationChain replaces the chain of a running control plane.
func TestAuthorizationChain(t *testing.T) {
	node := apiserverv1.AuthorizerConfiguration{Type: "Node", Name: "node"}
	rbac := apiserverv1.AuthorizerConfiguration{Type: "RBAC", Name: "rbac"}
	all := apiserverv1.AuthorizerConfiguration{Type: "AlwaysAllow", Name: "alwaysallow"}
	server := start(t, controlplane.Config{Authorization: apiserver.Authorization{
		Authorizers: []apiserver.Authorizer{{Name: "table", Before: "rbac", Authorizer: denyUser("mallory")}},
	}})
	jane, mallory := overTLS(t, server, "jane"), overTLS(t, server, "mallory")
	wantStatus(t, "before the change", listPods(t, jane), 403)
	if err := server.SetAuthorization(t.Context(), &apiserverv1.AuthorizationConfiguration{Authorizers: []apiserverv1.AuthorizerConfiguration{rbac, node, all}}); err != nil {
		t.Fatal(err)
	}
	if err := listPods(t, jane); err != nil {
		t.Errorf("after the change: %v", err)
	}
	wantStatus(t, "the host's authorizer comes first", listPods(t, mallory), 403)
	err := server.SetAuthorization(t.Context(), &apiserverv1.AuthorizationConfiguration{Authorizers: []apiserverv1.AuthorizerConfiguration{node}})
	if err == nil || !strings.HasPrefix(err.Error(), "controlplane: AuthorizationConfiguration: Invalid value: missing required types: [RBAC]") {
		t.Errorf("got %v, want the missing type", err)
	}
	if err := listPods(t, jane); err != nil {
		t.Errorf("after a change that was refused: %v", err)
	}
}

// TestAuthorizerDeniesComponent: the start names the component that would not work as a
// process of its own.
func TestAuthorizerDeniesComponent(t *testing.T) {
	_, err := controlplane.Start(t.Context(), controlplane.Config{
		Components:    []controlplane.Component{&part{name: "idle", run: idle}},
		Authorization: apiserver.Authorization{Authorizers: []apiserver.Authorizer{{Name: "table", Before: "node", Authorizer: denyUser("system:idle")}}},
	})
	const want = `Config.Authorization.Authorizers[0]: authorizer "table" denies user system:idle to `
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "would not work: component idle") {
		t.Errorf("got %v, want %q", err, want)
	}
}
