package apiserver

import (
	"github.com/kubembed/kubembed/internal/apiserver/authz"
)

// modes are Config.AuthorizationModes, or the default.
func (c Config) modes() []string {
	if len(c.AuthorizationModes) == 0 {
		return authz.DefaultModes
	}
	return c.AuthorizationModes
}

// authorization assembles the authorizer.
func (g *generic) authorization() error {
	decides, resolver, err := authz.New(g.ctx, authz.Config{
		Modes:     g.config.modes(),
		Resources: g.server.MergedResourceConfig,
		Informers: g.acknowledged.GraphInformers(g.informers),
		ServerID:  g.server.APIServerID,
	})
	if err != nil {
		return err
	}
	g.server.Authorization.Authorizer = g.acknowledged.Authorizer(joinAuthorizer{decides})
	g.server.RuleResolver = g.acknowledged.RuleResolver(resolver)
	return nil
}
