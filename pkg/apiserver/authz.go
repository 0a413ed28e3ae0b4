// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"

	"github.com/kubembed/kubembed/internal/apiserver/authz"
	"github.com/kubembed/kubembed/internal/apiserver/convergence"
)

// modes returns Config.AuthorizationModes or the default.
func (c Config) modes() []string {
	if len(c.AuthorizationModes) == 0 {
		return authz.DefaultModes
	}
	return c.AuthorizationModes
}

// configureAuthorization sets the authorizer.
func configureAuthorization(ctx context.Context, c *genericapiserver.Config, modes []string, shared informers.SharedInformerFactory, acknowledged *convergence.Writes) error {
	decides, resolver, err := authz.New(ctx, authz.Config{
		Modes:     modes,
		Resources: c.MergedResourceConfig,
		Informers: acknowledged.GraphInformers(shared),
		ServerID:  c.APIServerID,
	})
	if err != nil {
		return err
	}
	c.Authorization.Authorizer = acknowledged.Authorizer(authz.JoinAuthorizer{Authorizer: decides})
	c.RuleResolver = acknowledged.RuleResolver(resolver)
	return nil
}
