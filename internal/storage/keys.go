// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/kubembed/kubembed/internal/keyspace"
)

// Keyspace returns the keys of all objects.
func (b *Backend) Keyspace() keyspace.Keyspace { return keyspace.New(b.prefix) }

// CheckRequestSize returns an error if etcd does not take requests of so many bytes. It
// sends a transaction whose condition is never true.
func (b *Backend) CheckRequestSize(ctx context.Context, client *clientv3.Client, bytes int64) error {
	key := b.Keyspace().Health()
	_, err := client.Txn(ctx).If(clientv3.Compare(clientv3.Version(key), "<", 0)).
		Then(clientv3.OpPut(key, strings.Repeat("x", int(bytes)))).Commit()
	return err
}

// Key returns the key of an object for the methods of s. The namespace is empty for
// cluster-scoped objects.
func (s Store) Key(namespace, name string) string {
	return s.ResourcePrefix + keyspace.ObjectPath(namespace, name)
}
