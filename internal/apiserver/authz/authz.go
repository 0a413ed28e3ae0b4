// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package authz assembles the API server's authorizers.
package authz

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	clientgoinformers "k8s.io/client-go/informers"
	kubeauthorizer "k8s.io/kubernetes/pkg/kubeapiserver/authorizer"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"
)

// Modes are the supported modes. They need no configuration other than their name.
var Modes = []string{modes.ModeNode, modes.ModeRBAC, modes.ModeAlwaysAllow, modes.ModeAlwaysDeny}

// DefaultModes are the Node authorizer and RBAC, in upstream's usual order.
var DefaultModes = []string{modes.ModeNode, modes.ModeRBAC}

// Config is the configuration of New.
type Config struct {
	Modes     []string
	Resources *serverstorage.ResourceConfig // served resources
	Informers clientgoinformers.SharedInformerFactory
	ServerID  string
}

// New returns an authorizer that asks the authorizers of the modes in their order. It
// leaves RBAC out if the rbac group is disabled. With the default modes, nodes and
// system:masters then keep their permissions.
func New(ctx context.Context, c Config) (authorizer.Authorizer, authorizer.RuleResolver, error) {
	var authorizers []apiserverconfig.AuthorizerConfiguration
	for _, mode := range c.Modes {
		if mode == modes.ModeRBAC && !c.Resources.ResourceEnabled(rbacv1.SchemeGroupVersion.WithResource("clusterroles")) {
			continue
		}
		authorizers = append(authorizers, apiserverconfig.AuthorizerConfiguration{
			Type: apiserverconfig.AuthorizerType(mode),
			Name: kubeauthorizer.GetNameForAuthorizerMode(mode),
		})
	}
	decides, resolver, err := kubeauthorizer.Config{
		VersionedInformerFactory:   c.Informers,
		AuthorizationConfiguration: &apiserverconfig.AuthorizationConfiguration{Authorizers: authorizers},
	}.New(ctx, c.ServerID)
	if err != nil {
		return nil, nil, fmt.Errorf("apiserver: authorization: %w", err)
	}
	return decides, resolver, nil
}
