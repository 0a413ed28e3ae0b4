package checkpoint

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Had tells whether the key was there.
func (c *Checkpoint) Had(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.stored[key]
	return ok
}

// Adopt counts a key as one that was there, with the value with which it was
// created. It does nothing for a key that is not there.
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

// AdoptFirst adopts the first value that each of keys gets after the checkpoint,
// and returns when all have one, or ctx ends.
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

// Accept counts the value that a key has now as the one that it had. It reports
// whether may allows it, which is told both.
func (c *Checkpoint) Accept(ctx context.Context, key string, may func(was, is []byte) bool) (bool, error) {
	got, err := c.client.Get(ctx, key)
	if err != nil || len(got.Kvs) == 0 {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	was, ok := c.stored[key]
	if !ok || !may(was.value, got.Kvs[0].Value) {
		return false, nil
	}
	c.stored[key] = newEntry(got.Kvs[0])
	return true, nil
}
