// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package checkpoint records the keys of etcd below a prefix, and finds and undoes later
// changes.
package checkpoint

import (
	"context"
	"maps"
	"slices"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Checkpoint is a record of keys and values. Its methods are safe for concurrent use, but
// concurrent calls of Undo make no sense.
type Checkpoint struct {
	client *clientv3.Client
	prefix string

	mu       sync.Mutex
	stored   map[string]entry
	revision int64 // of the record
}

// entry is a recorded key.
type entry struct {
	value []byte
	// The revisions of the creation and of the last change of the key when it was last
	// seen with that value.
	created, modified int64
}

func newEntry(kv *mvccpb.KeyValue) entry {
	return entry{value: kv.Value, created: kv.CreateRevision, modified: kv.ModRevision}
}

// page is the number of keys in one read.
const page = 10000

// Take records every key below prefix.
func Take(ctx context.Context, client *clientv3.Client, prefix string) (*Checkpoint, error) {
	c := &Checkpoint{client: client, prefix: prefix, stored: map[string]entry{}}
	var err error
	c.revision, err = c.each(ctx, func(key string, e entry) { c.stored[key] = e })
	if err != nil {
		return nil, err
	}
	return c, nil
}

// each visits every key, all at one revision, which it returns.
func (c *Checkpoint) each(ctx context.Context, visit func(string, entry), options ...clientv3.OpOption) (int64, error) {
	end := clientv3.GetPrefixRangeEnd(c.prefix)
	from, revision := c.prefix, int64(0)
	for {
		got, err := c.client.Get(ctx, from, append([]clientv3.OpOption{
			clientv3.WithRange(end), clientv3.WithLimit(page), clientv3.WithRev(revision),
		}, options...)...)
		if err != nil {
			return 0, err
		}
		if revision == 0 {
			revision = got.Header.Revision
		}
		for _, kv := range got.Kvs {
			visit(string(kv.Key), newEntry(kv))
		}
		if !got.More || len(got.Kvs) == 0 {
			return revision, nil
		}
		from = string(got.Kvs[len(got.Kvs)-1].Key) + "\x00"
	}
}

// Difference is a key that has changed since the checkpoint.
type Difference struct {
	Key string
	// New is a key that did not exist, Gone one that was deleted, and Replaced one that
	// was deleted and created again.
	New, Gone, Replaced bool
}

// Differences returns all keys that have changed since the checkpoint, sorted.
func (c *Checkpoint) Differences(ctx context.Context) ([]Difference, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Difference
	var suspects []entry // parallel to all
	missing := maps.Clone(c.stored)
	_, err := c.each(ctx, func(key string, now entry) {
		delete(missing, key)
		was, ok := c.stored[key]
		switch {
		case !ok:
			all, suspects = append(all, Difference{Key: key, New: true}), append(suspects, now)
		case was.modified != now.modified:
			all, suspects = append(all, Difference{Key: key, Replaced: was.created != now.created}), append(suspects, now)
		}
	}, clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	kept := all[:0]
	for i, d := range all {
		if !d.New {
			same, err := c.same(ctx, d.Key, suspects[i])
			if err != nil {
				return nil, err
			}
			if same {
				continue
			}
		}
		kept = append(kept, d)
	}
	for key := range missing {
		kept = append(kept, Difference{Key: key, Gone: true})
	}
	slices.SortFunc(kept, func(a, b Difference) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	return kept, nil
}

// same reports whether a key has its recorded value although it was written.
func (c *Checkpoint) same(ctx context.Context, key string, now entry) (bool, error) {
	got, err := c.client.Get(ctx, key)
	if err != nil || len(got.Kvs) == 0 {
		return false, err
	}
	was := c.stored[key]
	if string(got.Kvs[0].Value) != string(was.value) {
		return false, nil
	}
	was.created, was.modified = now.created, now.modified
	c.stored[key] = was
	return true, nil
}
