// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Had reports whether the key existed.
func (c *Checkpoint) Had(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.stored[key]
	return ok
}

// Adopt adds a key to the checkpoint, with the value that it was created with. It does
// nothing for a key that does not exist.
func (c *Checkpoint) Adopt(ctx context.Context, key string) error {
	got, err := c.client.Get(ctx, key)
	if err != nil || len(got.Kvs) == 0 {
		return err
	}
	now := got.Kvs[0]
	if now.CreateRevision != now.ModRevision {
		first, err := c.client.Get(ctx, key, clientv3.WithRev(now.CreateRevision))
		switch {
		case errors.Is(err, rpctypes.ErrCompacted):
		case err != nil:
			return err
		case len(first.Kvs) > 0:
			now = first.Kvs[0]
		}
	}
	c.adopt(key, newEntry(now))
	return nil
}

func (c *Checkpoint) adopt(key string, e entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.stored[key]; !ok {
		c.stored[key] = e
	}
}

// AdoptFirst adopts the first value that each of keys gets after the checkpoint. It
// returns when all have one, or ctx ends.
func (c *Checkpoint) AdoptFirst(ctx context.Context, keys []string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	missing := map[string]bool{}
	for _, key := range keys {
		if !c.Had(key) {
			missing[key] = true
		}
	}
	if len(missing) == 0 {
		return
	}
	for answer := range c.client.Watch(ctx, c.prefix, clientv3.WithPrefix(), clientv3.WithRev(c.revision+1), clientv3.WithFilterDelete()) {
		for _, event := range answer.Events {
			if key := string(event.Kv.Key); missing[key] {
				c.adopt(key, newEntry(event.Kv))
				delete(missing, key)
			}
		}
		if len(missing) == 0 {
			return
		}
	}
}

// Accept replaces the value of a key in the checkpoint by its current one, if allowed
// returns true for the two. It reports whether it did.
func (c *Checkpoint) Accept(ctx context.Context, key string, allowed func(was, is []byte) bool) (bool, error) {
	got, err := c.client.Get(ctx, key)
	if err != nil || len(got.Kvs) == 0 {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	was, ok := c.stored[key]
	if !ok || !allowed(was.value, got.Kvs[0].Value) {
		return false, nil
	}
	c.stored[key] = newEntry(got.Kvs[0])
	return true, nil
}
