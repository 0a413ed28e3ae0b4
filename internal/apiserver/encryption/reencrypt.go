// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	storagevalue "k8s.io/apiserver/pkg/storage/value"
	"k8s.io/client-go/discovery"

	"github.com/kubembed/kubembed/internal/keyspace"
)

// Reencrypt rewrites all objects that are not stored as the configuration requires, and
// returns their number. Discovery lists the resources that the API server serves.
func (t *Transformers) Reencrypt(ctx context.Context, client *clientv3.Client, keys keyspace.Keyspace, served discovery.ServerResourcesInterface) (int, error) {
	resources, err := servedResources(keys, served)
	if err != nil {
		return 0, fmt.Errorf("apiserver: encrypting again: %w", err)
	}
	written := 0
	err = readAll(ctx, client, keys.Prefix(), func(kv *mvccpb.KeyValue) error {
		resource, _, known := resources.Find(string(kv.Key))
		encrypt := func(encrypted bool) bool {
			if known {
				return t.encrypts(resource)
			}
			// The resource is switched off, or the key is not that of an object.
			return encrypted && !t.config.WritePlaintext
		}
		changed, err := t.reencrypt(ctx, client, kv, encrypt)
		if changed {
			written++
		}
		if err != nil {
			return fmt.Errorf("apiserver: encrypting %s again: %w", kv.Key, err)
		}
		return nil
	})
	return written, err
}

// reencrypt rewrites one object. It tries again when another client has written the
// object in the meantime.
func (t *Transformers) reencrypt(ctx context.Context, client *clientv3.Client, kv *mvccpb.KeyValue, encrypt func(encrypted bool) bool) (changed bool, err error) {
	key := string(kv.Key)
	for {
		encrypted := bytes.HasPrefix(kv.Value, encryptedPrefix)
		wanted := encrypt(encrypted)
		if !encrypted && !wanted {
			return false, nil
		}
		at := storagevalue.DefaultContext(key)
		value, stale, err := t.keys.TransformFromStorage(ctx, kv.Value, at)
		if err != nil {
			return false, err
		}
		if wanted {
			if !stale {
				return false, nil
			}
			if value, err = t.keys.TransformToStorage(ctx, value, at); err != nil {
				return false, err
			}
		}
		result, err := client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", kv.ModRevision)).
			Then(clientv3.OpPut(key, string(value), clientv3.WithIgnoreLease())).
			Else(clientv3.OpGet(key)).
			Commit()
		switch {
		case err != nil:
			return false, err
		case result.Succeeded:
			return true, nil
		}
		current := result.Responses[0].GetResponseRange().Kvs
		if len(current) == 0 {
			return false, nil // deleted
		}
		kv = current[0]
	}
}

// servedResources returns an index of the keys of all resources that the server serves.
func servedResources(keys keyspace.Keyspace, served discovery.ServerResourcesInterface) (keyspace.Index, error) {
	_, lists, err := served.ServerGroupsAndResources()
	// An aggregated API server that is unavailable fails discovery of its groups. Its
	// objects are not in this etcd.
	var unavailable *discovery.ErrGroupDiscoveryFailed
	if err != nil && !errors.As(err, &unavailable) {
		return nil, err
	}
	index := keyspace.Index{}
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, api := range list.APIResources {
			resource := schema.GroupResource{Group: version.Group, Resource: api.Name}
			if strings.Contains(api.Name, "/") || !slices.Contains(api.Verbs, "get") {
				continue
			}
			for _, prefix := range keys.ResourcePrefixes(resource) {
				// Events of both groups are stored as events of the core group.
				if indexed, ok := index[prefix]; !ok || indexed.Group != "" {
					index[prefix] = resource
				}
			}
		}
	}
	return index, nil
}
