// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"

	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/kubembed/kubembed/internal/apiserver/authz"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// configureAuthorization sets the authorizer.
func (s *Server) configureAuthorization(c *genericapiserver.Config) (err error) {
	identities := authz.Identities(s.config.components)
	if s.config.lenient {
		identities = nil
	}
	s.authorization, err = authz.New(authz.Config{
		Source:         s.config.Authorization.source(),
		Hosts:          s.config.Authorization.hosts(),
		Resources:      c.MergedResourceConfig,
		Informers:      s.acknowledged.GraphInformers(s.sharedInformers),
		ServerID:       c.APIServerID,
		Dial:           s.config.Dialers.ControlPlane,
		Dir:            s.config.Dir,
		RequestTimeout: s.config.RequestTimeout,
		NoAlwaysAllow:  !s.config.lenient && acceptsAnonymous(s.anonymous),
		Identities:     identities,
		Logger:         s.config.Logger,
	})
	if err != nil {
		return err
	}
	s.resources.Push("apiserver: connections to authorization webhooks", func(context.Context) error { s.authorization.Close(); return nil })
	c.Authorization.Authorizer = s.acknowledged.Authorizer(authz.JoinAuthorizer{Authorizer: s.authorization})
	c.RuleResolver = s.acknowledged.RuleResolver(s.authorization)
	return nil
}

// SetAuthorization replaces the chain of Config.Authorization.Modes or Configuration
// while the server serves. It returns when requests that begin afterwards are decided by
// c. Config.Authorization.Authorizers keep their places. No request fails for the change.
// As with SetAuthentication, c is copied and not stored, and must not be nil: a server
// that starts has the chain of its Config.
//
// The order is free, but Node, RBAC and ABAC cannot be added, and of the authorizers of
// the start only webhooks can be removed. AlwaysAllow cannot be added while
// Config.Authentication.Anonymous accepts clients without credentials on other paths than
// /healthz, /livez, /readyz and /version. The same holds for a changed
// Config.Authorization.ConfigurationFile. A webhook whose configuration and kubeconfig
// have not changed keeps its cache. Otherwise the kubeconfig is read again.
//
// The server refuses a configuration that is invalid or that denies an identity of the
// control plane, as New and Start do, and goes on with the one before. The log and the
// metric apiserver_authorization_config_controller_automatic_reloads_total have each
// result. ctx bounds the questions about these identities. It is an error if
// Config.Authorization.ConfigurationFile is set.
func (s *Server) SetAuthorization(ctx context.Context, c *apiserverv1.AuthorizationConfiguration) error {
	if s.ctx.Err() != nil {
		return fieldpath.New("apiserver", "", "the server has stopped")
	}
	return s.authorization.Set(ctx, c)
}
