package apiserver

import (
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	kubeauthorizer "k8s.io/kubernetes/pkg/kubeapiserver/authorizer"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"
)

// authorizationModes are those that need nothing but a name.
var authorizationModes = []string{modes.ModeNode, modes.ModeRBAC, modes.ModeAlwaysAllow, modes.ModeAlwaysDeny}

// modes are Config.AuthorizationModes, or the default.
func (c Config) modes() []string {
	if len(c.AuthorizationModes) == 0 {
		return []string{modes.ModeNode, modes.ModeRBAC}
	}
	return c.AuthorizationModes
}

// authorization is by default the Node authorizer and RBAC, in upstream's usual
// order. Where the rbac group is switched off RBAC has nothing to ask: by default
// nodes and system:masters remain.
func (g *generic) authorization() error {
	var authorizers []apiserverconfig.AuthorizerConfiguration
	for _, mode := range g.config.modes() {
		if mode == modes.ModeRBAC && !g.server.MergedResourceConfig.ResourceEnabled(rbacv1.SchemeGroupVersion.WithResource("clusterroles")) {
			continue
		}
		authorizers = append(authorizers, apiserverconfig.AuthorizerConfiguration{
			Type: apiserverconfig.AuthorizerType(mode),
			Name: kubeauthorizer.GetNameForAuthorizerMode(mode),
		})
	}
	decides, resolver, err := kubeauthorizer.Config{
		VersionedInformerFactory:   g.acknowledged.graphInformers(g.informers),
		AuthorizationConfiguration: &apiserverconfig.AuthorizationConfiguration{Authorizers: authorizers},
	}.New(g.ctx, g.server.APIServerID)
	if err != nil {
		return fmt.Errorf("apiserver: authorization: %w", err)
	}
	rbac := g.acknowledged.of(rbacSources)
	current := currentAuthorizer{joinAuthorizer{decides}, g.acknowledged, rbac}
	// The modes give no conditional decisions. A request for one gets the decision of Authorize.
	g.server.Authorization.Authorizer = authorizer.AuthorizerFunc(current.Authorize)
	g.server.RuleResolver = currentRules{resolver, g.acknowledged, rbac}
	return nil
}
