package apiserver

import (
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	kubeauthorizer "k8s.io/kubernetes/pkg/kubeapiserver/authorizer"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"
)

// authorization is the Node authorizer and RBAC, in upstream's usual order.
// Where the rbac group is switched off there is nothing to ask: nodes and
// system:masters remain.
func (g *generic) authorization() error {
	enabled := []string{modes.ModeNode}
	if g.server.MergedResourceConfig.ResourceEnabled(rbacv1.SchemeGroupVersion.WithResource("clusterroles")) {
		enabled = append(enabled, modes.ModeRBAC)
	}
	var authorizers []apiserverconfig.AuthorizerConfiguration
	for _, mode := range enabled {
		authorizers = append(authorizers, apiserverconfig.AuthorizerConfiguration{
			Type: apiserverconfig.AuthorizerType(mode),
			Name: kubeauthorizer.GetNameForAuthorizerMode(mode),
		})
	}
	authorizer, resolver, err := kubeauthorizer.Config{
		VersionedInformerFactory:   g.informers,
		AuthorizationConfiguration: &apiserverconfig.AuthorizationConfiguration{Authorizers: authorizers},
	}.New(g.ctx, g.server.APIServerID)
	if err != nil {
		return fmt.Errorf("apiserver: authorization: %w", err)
	}
	g.server.Authorization.Authorizer, g.server.RuleResolver = authorizer, resolver
	return nil
}
