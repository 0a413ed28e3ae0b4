// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// writers is the number of concurrent writes.
const writers = 16

// Undone is a difference that Undo has reverted.
type Undone struct {
	Difference
	Deleted  bool  // the key was deleted and not written
	Revision int64 // of the last write
}

// Undo deletes new keys and writes back changed and deleted ones. It deletes a replaced
// key first, so that watchers see the deletion of one object and the creation of the
// other. If it fails, it returns the differences that it has reverted so far.
//
// Each key is written at a revision of its own. One transaction for many keys would be
// faster, but watch caches and informers take a revision for one change of a resource: a
// client that lists while a cache has seen only some of the changes, or resumes a watch
// in the middle of them, would miss the others.
func (c *Checkpoint) Undo(ctx context.Context, differences []Difference) ([]Undone, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	undone := make([]Undone, len(differences))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for i, d := range differences {
		group.Go(func() error {
			revision, err := c.undo(ctx, d)
			if err == nil {
				undone[i] = Undone{Difference: d, Deleted: d.New, Revision: revision}
			}
			return err
		})
	}
	err := group.Wait()
	done := undone[:0]
	for _, d := range undone {
		if d.Revision == 0 {
			continue
		}
		done = append(done, d)
		if !d.New {
			was := c.stored[d.Key]
			was.modified = d.Revision
			if d.Gone || d.Replaced {
				was.created = d.Revision
			}
			c.stored[d.Key] = was
		}
	}
	return done, err
}

// undo returns the revision of its last write.
func (c *Checkpoint) undo(ctx context.Context, d Difference) (int64, error) {
	if d.New || d.Replaced {
		answer, err := c.client.Delete(ctx, d.Key)
		if err != nil {
			return 0, err
		}
		if d.New {
			return answer.Header.Revision, nil
		}
	}
	answer, err := c.client.Put(ctx, d.Key, string(c.stored[d.Key].value))
	if err != nil {
		return 0, err
	}
	return answer.Header.Revision, nil
}
