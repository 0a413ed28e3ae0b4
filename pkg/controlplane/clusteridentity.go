// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/keyspace"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// identity identifies the cluster whose objects an etcd stores. All its control planes
// must have the same keys, or they do not accept each other's clients.
type identity struct {
	PKI map[string][]string `json:"pki"`
}

// keyspace returns the keys of the control plane's objects.
func (s *Server) keyspace() keyspace.Keyspace { return keyspace.New(s.config.Etcd.Prefix) }

// identityTimeout bounds claimIdentity.
const identityTimeout = 10 * time.Second

// claimIdentity fails if the objects belong to a control plane with other keys, and
// records the keys of this one. A control plane whose keys end with it, without DataDir
// and Config.PKI, records nothing: no other could have its keys.
func (s *Server) claimIdentity(ctx context.Context) error {
	lasting := s.temporary == nil || len(s.config.PKI) > 0
	if lasting || s.config.Etcd.external() { // otherwise a new etcd, which ends with this control plane
		if err := s.claim(ctx, s.etcd.Client(), lasting); err != nil {
			return err
		}
	}
	for i, override := range s.overrides {
		if err := s.claim(ctx, override.Client(), lasting); err != nil {
			return fieldpath.Errorf("the etcd of %s: %w", fieldpath.NameOf(field.NewPath("Config", "Etcd", "Overrides").Index(i)), err)
		}
	}
	return nil
}

// claim is claimIdentity for one etcd.
func (s *Server) claim(ctx context.Context, client *clientv3.Client, lasting bool) error {
	ctx, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	key := s.keyspace().Identity()
	own := identity{PKI: s.pki.Fingerprints()}
	for {
		got, err := client.Get(ctx, key)
		if err != nil {
			return fmt.Errorf("reading the identity of the cluster: %w", err)
		}
		claim, unchanged := own, clientv3.Compare(clientv3.ModRevision(key), "=", 0)
		if len(got.Kvs) > 0 {
			var stored identity
			if err := json.Unmarshal(got.Kvs[0].Value, &stored); err != nil {
				return fmt.Errorf("%s in etcd is malformed: %w", key, err)
			}
			if err := s.sameKeys(stored, own); err != nil {
				return err
			}
			if claim = stored.with(own); claim.equal(stored) {
				return nil
			}
			unchanged = clientv3.Compare(clientv3.ModRevision(key), "=", got.Kvs[0].ModRevision)
		}
		if !lasting {
			return nil
		}
		value, err := json.Marshal(claim)
		if err != nil {
			return fmt.Errorf("writing the identity of the cluster: %w", err)
		}
		put, err := client.Txn(ctx).If(unchanged).Then(clientv3.OpPut(key, string(value))).Commit()
		if err != nil {
			return fmt.Errorf("writing the identity of the cluster: %w", err)
		}
		if put.Succeeded {
			return nil
		}
		// Another control plane was faster: compare with its keys.
	}
}

// sameKeys fails if a key has nothing in common with the recorded one of the same name.
func (s *Server) sameKeys(stored, own identity) error {
	for _, name := range slices.Sorted(maps.Keys(stored.PKI)) {
		if own.PKI[name] == nil || sets.New(stored.PKI[name]...).HasAny(own.PKI[name]...) {
			continue
		}
		err := fieldpath.Errorf("%w: the objects below %s in etcd belong to control planes whose %s has the SHA-256 %s, and that of this one is %s: "+
			"set %s to what Server.PKI of another one returns, or mount or restore the %s that has their keys, "+
			"or set %s for one start to keep the objects under the keys of this one, which earlier clients, nodes and tokens do not have",
			etcd.ErrOtherCluster, s.config.Etcd.Prefix, keyNames(name), stored.PKI[name], own.PKI[name],
			fieldpath.Name("Config.PKI"), fieldpath.Name("DataDir"), newClusterField)
		switch {
		case s.config.NewCluster:
			s.config.Logger.Warn("taking over the stored objects, as the configuration confirms: remove this confirmation from it now",
				zap.String("field", string(newClusterField)), zap.Error(err))
			return nil
		case s.record != nil && s.record.Restored:
			return nil
		}
		// Remove the new keys, which would contradict the right ones.
		if s.newKeys {
			_ = os.RemoveAll(s.pkiDir())
		}
		return err
	}
	return nil
}

func keyNames(name string) string {
	if name == "sa" {
		return "service-account key"
	}
	return "CA " + name
}

// with returns own and the keys that only i has.
func (i identity) with(own identity) identity {
	both := identity{PKI: maps.Clone(i.PKI)}
	if both.PKI == nil {
		both.PKI = map[string][]string{}
	}
	maps.Copy(both.PKI, own.PKI)
	return both
}

func (i identity) equal(other identity) bool {
	return maps.EqualFunc(i.PKI, other.PKI, slices.Equal)
}
