// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"os"
	"runtime"
	"strings"
	"testing"

	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubembed/kubembed/pkg/apiserver"
)

// TestAuthorizationBadInput: each error names its field and the cure.
func TestAuthorizationBadInput(t *testing.T) {
	t.Parallel()
	own := authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
		return authorizer.DecisionNoOpinion, "", nil
	})
	cluster := clientcmdapi.Cluster{Server: "https://127.0.0.1:1"}
	usable := writeKubeconfig(t, 0o644, cluster, clientcmdapi.AuthInfo{})
	key := writeFile(t, "client.key", "any", 0o644)
	hooks := func(kubeconfig string) *apiserverv1.AuthorizationConfiguration {
		return chainOf(nodeType, rbacType, webhookType("hook", kubeconfig))
	}
	inCluster := hooks("")
	inCluster.Authorizers[2].Webhook.ConnectionInfo = apiserverv1.WebhookConnectionInfo{Type: "InClusterConfig"}
	versioned := hooks(usable)
	versioned.APIVersion = "apiserver.config.k8s.io/v9"
	slow := hooks(usable)
	slow.Authorizers[2].Webhook.Timeout.Duration *= 10
	goodFile := writeFile(t, "chain.yaml", chainFile(nodeItem, rbacItem), 0o644)
	policy := writeFile(t, "policy.jsonl", policyFor("jane"), 0o644)
	const connection = "Authorization.Configuration.Authorizers[2].Webhook.ConnectionInfo"

	for name, c := range map[string]struct {
		authorization apiserver.Authorization
		want          string
	}{
		"an unknown mode":        {apiserver.Authorization{Modes: []string{"OPA"}}, `Authorization.Modes[0]: Unsupported value: "OPA"`},
		"a mode twice":           {apiserver.Authorization{Modes: []string{"RBAC", "RBAC"}}, `Authorization.Modes[1]: Duplicate value`},
		"a webhook mode":         {apiserver.Authorization{Modes: []string{"Webhook"}}, `Authorization.Modes[0]: Invalid value: "Webhook": use Authorization.Configuration`},
		"ABAC without policy":    {apiserver.Authorization{Modes: []string{"ABAC"}}, `Authorization.PolicyFile: Required value`},
		"a policy without ABAC":  {apiserver.Authorization{PolicyFile: policy}, `Authorization.PolicyFile: Forbidden`},
		"a missing policy":       {apiserver.Authorization{Modes: []string{"ABAC"}, PolicyFile: "/nowhere/policy"}, `Authorization.PolicyFile: Invalid value: "/nowhere/policy"`},
		"a bad policy":           {apiserver.Authorization{Modes: []string{"ABAC"}, PolicyFile: writeFile(t, "p", "x", 0o644)}, `Authorization.PolicyFile: Invalid value`},
		"a policy of others":     {apiserver.Authorization{Modes: []string{"ABAC"}, PolicyFile: writeFile(t, "p", policyFor("x"), 0o666)}, `chmod go-w`},
		"modes and Go type":      {apiserver.Authorization{Modes: []string{"RBAC"}, Configuration: hooks(usable)}, `Authorization.Configuration: Forbidden: Authorization.Modes is set too`},
		"modes and file":         {apiserver.Authorization{Modes: []string{"RBAC"}, ConfigurationFile: goodFile}, `Authorization.ConfigurationFile: Forbidden: Authorization.Modes is set too`},
		"Go type and file":       {apiserver.Authorization{Configuration: hooks(usable), ConfigurationFile: goodFile}, `Authorization.ConfigurationFile: Forbidden: Authorization.Configuration is set too`},
		"an unknown version":     {apiserver.Authorization{Configuration: versioned}, `Authorization.Configuration.APIVersion: Unsupported value: "apiserver.config.k8s.io/v9"`},
		"an empty chain":         {apiserver.Authorization{Configuration: chainOf()}, `Authorization.Configuration.Authorizers: Required value`},
		"a timeout":              {apiserver.Authorization{Configuration: slow}, `Authorization.Configuration.Authorizers[2].Timeout: Invalid value: "1m40s"`},
		"a missing kubeconfig":   {apiserver.Authorization{Configuration: hooks("/nowhere/kubeconfig")}, `KubeConfigFile: Invalid value: "/nowhere/kubeconfig"`},
		"no kubeconfig":          {apiserver.Authorization{Configuration: inCluster}, connection + `.Type: Unsupported value: "InClusterConfig"`},
		"a bad kubeconfig":       {apiserver.Authorization{Configuration: hooks(writeFile(t, "k", "[", 0o600))}, connection + `.KubeConfigFile: Invalid value`},
		"an empty kubeconfig":    {apiserver.Authorization{Configuration: hooks(writeFile(t, "k", "", 0o600))}, `is no usable kubeconfig`},
		"a readable token":       {apiserver.Authorization{Configuration: hooks(writeKubeconfig(t, 0o644, cluster, clientcmdapi.AuthInfo{Token: "x"}))}, `has secrets and its mode is 0644: chmod o-r`},
		"a readable key":         {apiserver.Authorization{Configuration: hooks(writeKubeconfig(t, 0o600, cluster, clientcmdapi.AuthInfo{ClientKey: key}))}, key + `: every user of this machine can read it`},
		"a writable kubeconfig":  {apiserver.Authorization{Configuration: hooks(writeKubeconfig(t, 0o666, cluster, clientcmdapi.AuthInfo{}))}, `chmod go-w`},
		"a missing file":         {apiserver.Authorization{ConfigurationFile: "/nowhere/chain"}, `Authorization.ConfigurationFile: Invalid value: "/nowhere/chain"`},
		"a file of others":       {apiserver.Authorization{ConfigurationFile: writeFile(t, "c", chainFile(nodeItem), 0o666)}, `chmod go-w`},
		"a file that is no YAML": {apiserver.Authorization{ConfigurationFile: writeFile(t, "c", "[", 0o600)}, `Authorization.ConfigurationFile: Invalid value`},
		"no name":                {apiserver.Authorization{Authorizers: []apiserver.Authorizer{{Authorizer: own}}}, `Authorization.Authorizers[0].Name: Required value`},
		"a bad name":             {apiserver.Authorization{Authorizers: []apiserver.Authorizer{{Name: "a b", Authorizer: own}}}, `Authorization.Authorizers[0].Name: Invalid value: "a b"`},
		"a name of upstream":     {apiserver.Authorization{Authorizers: []apiserver.Authorizer{{Name: "rbac", Authorizer: own}}}, `Authorization.Authorizers[0].Name: Duplicate value: "rbac"`},
		"two of one name":        {apiserver.Authorization{Authorizers: []apiserver.Authorizer{{Name: "a", Authorizer: own}, {Name: "a", Authorizer: own}}}, `Authorization.Authorizers[1].Name: Duplicate value: "a"`},
		"no authorizer":          {apiserver.Authorization{Authorizers: []apiserver.Authorizer{{Name: "a"}}}, `Authorization.Authorizers[0].Authorizer: Required value`},
		"a nil function":         {apiserver.Authorization{Authorizers: []apiserver.Authorizer{{Name: "a", Authorizer: authorizer.AuthorizerFunc(nil)}}}, `Authorization.Authorizers[0].Authorizer: Required value`},
		"an unknown place":       {apiserver.Authorization{Authorizers: []apiserver.Authorizer{{Name: "a", Authorizer: own, Before: "RBAC"}}}, `Authorization.Authorizers[0].Before: Invalid value: "RBAC": no authorizer has this name: use one of node, rbac, or leave it empty`},
		"a place in a file":      {apiserver.Authorization{ConfigurationFile: goodFile, Authorizers: []apiserver.Authorizer{{Name: "a", Authorizer: own, Before: "hook"}}}, `use one of node, rbac, or`},
	} {
		t.Run(name, func(t *testing.T) {
			if os.PathSeparator != '/' && strings.Contains(c.want, "chmod") {
				t.Skip("no modes on " + runtime.GOOS)
			}
			if err := (apiserver.Config{Authorization: c.authorization}).Validate(); !contains(err, c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	for name, good := range map[string]apiserver.Authorization{
		"nothing":          {},
		"a webhook":        {Configuration: hooks(usable)},
		"a file":           {ConfigurationFile: goodFile},
		"before one's own": {Authorizers: []apiserver.Authorizer{{Name: "a", Authorizer: own, Before: "rbac"}, {Name: "b", Authorizer: own, Before: "a"}}},
	} {
		if err := (apiserver.Config{Authorization: good}).Validate(); contains(err, "Authorization.") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
