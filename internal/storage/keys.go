// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package storage

import "github.com/kubembed/kubembed/internal/keyspace"

// Keyspace returns the keys of all objects.
func (b *Backend) Keyspace() keyspace.Keyspace { return keyspace.New(b.prefix) }

// Key returns the key of an object for the methods of s. The namespace is empty for
// cluster-scoped objects.
func (s Store) Key(namespace, name string) string {
	return s.ResourcePrefix + keyspace.ObjectPath(namespace, name)
}
