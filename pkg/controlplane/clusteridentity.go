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

	"github.com/kubembed/kubembed/pkg/etcd"
)

// identityKey is below the prefix. No resource's keys begin like that. It holds what
// identity says, in JSON.
const identityKey = "/kubembed/identity"

// identity says whose objects an etcd keeps. All control planes that share them must have
// the same keys, or clients of one are strangers to the others.
type identity struct {
	PKI map[string][]string `json:"pki"`
}

// identityTimeout bounds claimIdentity.
const identityTimeout = 10 * time.Second

// claimIdentity refuses to work on the objects of a control plane with other keys, and
// writes down those of this one. A control plane whose keys end with it, for want of
// DataDir and Config.PKI, leaves no claim, which nobody could follow.
func (s *Server) claimIdentity(ctx context.Context) error {
	lasting := s.temporary == nil || len(s.config.PKI) > 0
	if !lasting && !s.config.Etcd.external() {
		return nil // an etcd that is new, and ends with it
	}
	ctx, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	client, key := s.etcd.Client(), s.config.Etcd.Prefix+identityKey
	own := identity{PKI: s.pki.Fingerprints()}
	for {
		got, err := client.Get(ctx, key)
		if err != nil {
			return fmt.Errorf("reading whose objects are stored: %w", err)
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
			return fmt.Errorf("writing whose objects are stored: %w", err)
		}
		put, err := client.Txn(ctx).If(unchanged).Then(clientv3.OpPut(key, string(value))).Commit()
		if err != nil {
			return fmt.Errorf("writing whose objects are stored: %w", err)
		}
		if put.Succeeded {
			return nil
		}
		// Another control plane was faster: see who it is.
	}
}

// sameKeys refuses keys that have nothing in common with those of the claim, by name.
func (s *Server) sameKeys(stored, own identity) error {
	for _, name := range slices.Sorted(maps.Keys(stored.PKI)) {
		if own.PKI[name] == nil || sets.New(stored.PKI[name]...).HasAny(own.PKI[name]...) {
			continue
		}
		err := fmt.Errorf("%w: the objects below %s in etcd are of control planes whose %s has the SHA-256 %s, and that of this one is %s: "+
			"set Config.PKI to what Server.PKI of another one returns, or mount or restore the DataDir that has their keys, "+
			"or set Config.NewCluster for one start to keep the objects under the keys of this one, which no client, node or token of before knows",
			etcd.ErrOtherCluster, s.config.Etcd.Prefix, keyNames(name), stored.PKI[name], own.PKI[name])
		switch {
		case s.config.NewCluster:
			s.config.Logger.Warn("takes over the stored objects, as Config.NewCluster confirms: take it out of the configuration now", zap.Error(err))
			return nil
		case s.record != nil && s.record.Restored:
			return nil
		}
		// Keys that this start has made are in the way of the right ones.
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

// with returns the claim of own, and of what only i knows.
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
