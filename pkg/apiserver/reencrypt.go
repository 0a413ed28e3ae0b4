package apiserver

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

// Reencrypt writes anew what is not stored as Config.Encryption has it: with
// another key than the first, in the clear, or encrypted where it is to be in the
// clear. When it returns nil every other key can be dropped. Objects keep their
// content and get a new resource version, as they would by an update without a
// change; neither admission nor validation sees them. It may be called at any time
// and again, also on several servers at once, and goes on where it was broken off.
// It returns how many objects it has written. Without Encryption it does nothing.
func (s *Server) Reencrypt(ctx context.Context) (int, error) {
	e := s.generic.encryption
	if e == nil {
		return 0, nil
	}
	resources, err := s.storedResources()
	if err != nil {
		return 0, fmt.Errorf("apiserver: encrypting anew: %w", err)
	}
	written := 0
	err = s.generic.stored(ctx, s.backend.Keyspace().Prefix(), func(kv *mvccpb.KeyValue) error {
		resource, _, known := resources.Find(string(kv.Key))
		encrypt := func(encrypted bool) bool {
			if known {
				return e.encrypts(resource)
			}
			// Of a resource that is switched off, or none at all.
			return encrypted && !e.WritePlaintext
		}
		changed, err := s.reencrypt(ctx, kv, encrypt)
		if changed {
			written++
		}
		if err != nil {
			return fmt.Errorf("apiserver: encrypting %s anew: %w", kv.Key, err)
		}
		return nil
	}, 0)
	return written, err
}

// reencrypt repeats until nobody else has written the object meanwhile.
func (s *Server) reencrypt(ctx context.Context, kv *mvccpb.KeyValue, encrypt func(encrypted bool) bool) (bool, error) {
	keys := s.generic.encryption.keys
	key := string(kv.Key)
	for {
		encrypted := bytes.HasPrefix(kv.Value, encryptedPrefix)
		wanted := encrypt(encrypted)
		if !encrypted && !wanted {
			return false, nil
		}
		at := storagevalue.DefaultContext(key)
		value, stale, err := keys.TransformFromStorage(ctx, kv.Value, at)
		if err != nil {
			return false, err
		}
		if wanted {
			if !stale {
				return false, nil
			}
			if value, err = keys.TransformToStorage(ctx, value, at); err != nil {
				return false, err
			}
		}
		done, err := s.backend.Client().Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", kv.ModRevision)).
			Then(clientv3.OpPut(key, string(value), clientv3.WithIgnoreLease())).
			Else(clientv3.OpGet(key)).
			Commit()
		switch {
		case err != nil:
			return false, err
		case done.Succeeded:
			return true, nil
		}
		now := done.Responses[0].GetResponseRange().Kvs
		if len(now) == 0 {
			return false, nil // deleted
		}
		kv = now[0]
	}
}

// storedResources are where all resources are stored that are served.
func (s *Server) storedResources() (keyspace.Index, error) {
	_, lists, err := s.generic.client.Discovery().ServerGroupsAndResources()
	// Of aggregated API servers that are down. Their objects are elsewhere.
	var down *discovery.ErrGroupDiscoveryFailed
	if err != nil && !errors.As(err, &down) {
		return nil, err
	}
	index := keyspace.Index{}
	keys := s.backend.Keyspace()
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, served := range list.APIResources {
			resource := schema.GroupResource{Group: version.Group, Resource: served.Name}
			if strings.Contains(served.Name, "/") || !slices.Contains(served.Verbs, "get") {
				continue
			}
			for _, prefix := range keys.ResourcePrefixes(resource) {
				// Events are stored as those of the core group.
				if there, ok := index[prefix]; !ok || there.Group != "" {
					index[prefix] = resource
				}
			}
		}
	}
	return index, nil
}
