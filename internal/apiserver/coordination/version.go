// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package coordination

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/keyspace"
	"github.com/kubembed/kubembed/internal/versionskew"
)

// storedVersion is the value of Keyspace.Version, in JSON.
type storedVersion struct {
	// Kubernetes is the newest release that has been started on the stored data.
	Kubernetes string `json:"kubernetes"`
}

// versionTimeout bounds ClaimVersion.
const versionTimeout = 10 * time.Second

// ClaimVersion returns versionskew.Err if the Kubernetes release own must not work on the
// data below keys, and otherwise records that it has been started there. It must be
// called before upstream's code writes anything, which it does even if the server is
// stopped before it serves.
func ClaimVersion(ctx context.Context, client *clientv3.Client, keys keyspace.Keyspace, own string, shared bool) error {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	key := keys.Version()
	value, err := json.Marshal(storedVersion{own})
	if err != nil {
		return fmt.Errorf("apiserver: version: %w", err)
	}
	for {
		got, err := client.Get(ctx, key)
		if err != nil {
			return fmt.Errorf("apiserver: version of the stored data: %w", err)
		}
		unchanged := clientv3.Compare(clientv3.ModRevision(key), "=", 0)
		if len(got.Kvs) > 0 {
			var stored storedVersion
			if err := json.Unmarshal(got.Kvs[0].Value, &stored); err != nil {
				return fmt.Errorf("apiserver: %s in etcd is malformed: %w", key, err)
			}
			newer, err := versionskew.Follows(stored.Kubernetes, own, shared)
			if err != nil {
				return fieldpath.New("apiserver", "Config.Prefix", "the data below %s in etcd are of Kubernetes %s: %w", keys.Prefix(), stored.Kubernetes, err)
			}
			if !newer {
				return nil
			}
			unchanged = clientv3.Compare(clientv3.ModRevision(key), "=", got.Kvs[0].ModRevision)
		}
		put, err := client.Txn(ctx).If(unchanged).Then(clientv3.OpPut(key, string(value))).Commit()
		if err != nil {
			return fmt.Errorf("apiserver: version of the stored data: %w", err)
		}
		if put.Succeeded {
			return nil
		}
		// Another server has written its version: compare with that one.
	}
}
