// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"google.golang.org/protobuf/proto"

	"github.com/kubembed/kubembed/internal/etcd/contain"
)

// tombstoneLength is the length of the bucket key of a deletion: one byte more than a
// revision.
const tombstoneLength = 18

// drop deletes the keys that cfg.Drop selects from the database at source, which has been
// checked. It works on the copy that the data directory is made from, so that a process
// killed at any moment leaves all keys or none.
func drop(ctx context.Context, cfg Config, source string) error {
	keys, err := dropped(ctx, cfg.Drop, source)
	if err != nil || len(keys) == 0 {
		return err
	}
	// The checksum at the end has been verified, and new pages go to its place.
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if err := os.Truncate(source, info.Size()/512*512); err != nil {
		return err
	}
	c := contain.New()
	lg := c.Logger(cfg.Logger)
	err = c.Run(func() (err error) {
		database := backend.NewDefaultBackend(lg, source)
		defer func() { err = errors.Join(err, database.Close()) }()
		store := mvcc.NewStore(lg, database, &lease.FakeLessor{}, mvcc.StoreConfig{})
		for _, key := range keys {
			store.DeleteRange([]byte(key), nil)
		}
		store.Commit()
		return store.Close()
	})
	if err != nil {
		return damaged(err)
	}
	if cfg.Dropped != nil {
		for _, key := range keys {
			cfg.Dropped([]byte(key))
		}
	}
	return nil
}

// dropped returns the keys in the database at source that drop selects, sorted.
func dropped(ctx context.Context, drop func(key, value []byte) bool, source string) ([]string, error) {
	keys := map[string]bool{}
	c := contain.New()
	err := c.Run(func() error {
		db, err := bbolt.Open(source, 0o600, &bbolt.Options{ReadOnly: true})
		if err != nil {
			return err
		}
		defer func() { _ = db.Close() }()
		return db.View(func(tx *bbolt.Tx) error {
			bucket := tx.Bucket(schema.Key.Name())
			if bucket == nil {
				return nil
			}
			// In the order of revisions: the last revision of a key is its current value.
			var kv mvccpb.KeyValue
			n := 0
			return bucket.ForEach(func(revision, value []byte) error {
				if n++; n%4096 == 0 && ctx.Err() != nil {
					return context.Cause(ctx)
				}
				kv.Reset()
				if err := proto.Unmarshal(value, &kv); err != nil {
					return err
				}
				switch {
				case len(kv.Key) == 0: // an earlier restore has left a gap between revisions
				case len(revision) < tombstoneLength && drop(kv.Key, kv.Value):
					keys[string(kv.Key)] = true
				default:
					delete(keys, string(kv.Key))
				}
				return nil
			})
		})
	})
	if err != nil {
		return nil, damaged(err)
	}
	return slices.Sorted(maps.Keys(keys)), nil
}
