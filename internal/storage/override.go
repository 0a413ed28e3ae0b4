// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Override stores resources in another etcd, below the same prefix. It must be called
// before they are installed. The client stays the caller's.
func (b *Backend) Override(client *clientv3.Client, resources []schema.GroupResource) {
	override := NewBackend(client, nil, b.prefix, b.options)
	b.overrides = append(b.overrides, override)
	if b.homes == nil {
		b.homes = map[schema.GroupResource]*Backend{}
	}
	for _, resource := range resources {
		b.homes[resource] = override
	}
}

// Overrides returns the clients of Override, in its order.
func (b *Backend) Overrides() (clients []*clientv3.Client) {
	for _, override := range b.overrides {
		clients = append(clients, override.client)
	}
	return clients
}

// Clients returns the shared client and the clients of Override.
func (b *Backend) Clients() []*clientv3.Client {
	return append([]*clientv3.Client{b.client}, b.Overrides()...)
}

// home returns the backend of a resource.
func (b *Backend) home(resource schema.GroupResource) *Backend {
	if override, ok := b.homes[resource]; ok {
		return override
	}
	return b
}

// Answers returns an error if an etcd does not answer.
func (b *Backend) Answers(ctx context.Context, client *clientv3.Client) error {
	_, err := client.Get(ctx, b.Keyspace().Health())
	return err
}
