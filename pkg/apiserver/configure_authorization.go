// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/kubembed/kubembed/internal/apiserver/authz"
)

// configureAuthorization sets the authorizer.
func configureAuthorization(e *environment, c *genericapiserver.Config) error {
	decides, resolver, err := authz.New(e.ctx, authz.Config{
		Modes:     e.config.Authorization.modes(),
		Resources: c.MergedResourceConfig,
		Informers: e.acknowledged.GraphInformers(e.sharedInformers),
		ServerID:  c.APIServerID,
	})
	if err != nil {
		return err
	}
	c.Authorization.Authorizer = e.acknowledged.Authorizer(authz.JoinAuthorizer{Authorizer: decides})
	c.RuleResolver = e.acknowledged.RuleResolver(resolver)
	return nil
}
