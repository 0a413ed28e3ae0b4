// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package authz assembles the API server's authorizers: upstream's, and the host's own at
// their places between them.
//
// Upstream's constructor makes a whole chain, with room for nothing else. Here it makes a
// chain for each authorizer alone, and upstream's union joins these with the host's. So
// the Node authorizer's graph exists once, and a new configuration only replaces webhooks
// and the order.
package authz

import (
	"context"
	"net"
	"time"

	"go.uber.org/zap"
	rbacv1 "k8s.io/api/rbac/v1"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	clientgoinformers "k8s.io/client-go/informers"
)

// Config is the configuration of New.
type Config struct {
	Source
	// Hosts are the host's own authorizers.
	Hosts     []Host
	Resources *serverstorage.ResourceConfig // served resources
	Informers clientgoinformers.SharedInformerFactory
	ServerID  string
	// Dial opens the connections to webhooks. If nil, a net.Dialer does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Dir is a private directory for copies of kubeconfigs.
	Dir string
	// RequestTimeout bounds the calls of the host's authorizers in requests that have no
	// deadline.
	RequestTimeout time.Duration
	// NoAlwaysAllow refuses authorizers of type AlwaysAllow: clients without credentials
	// would have the permissions of administrators.
	NoAlwaysAllow bool
	// Identities must not be denied.
	Identities []Identity
	Logger     *zap.Logger
}

// servesRBAC reports whether there are roles. Without them RBAC is left out of the chain:
// with the default modes, nodes and system:masters then keep their permissions.
func (c Config) servesRBAC() bool {
	return c.Resources.ResourceEnabled(rbacv1.SchemeGroupVersion.WithResource("clusterroles"))
}
