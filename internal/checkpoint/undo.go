package checkpoint

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// writers is how many keys are written at once.
const writers = 16

// Undone is a difference that is no more.
type Undone struct {
	Difference
	Deleted  bool  // the key, and not put
	Revision int64 // of the last write
}

// Undo deletes keys that are new, and puts back what has changed or is gone. What
// was replaced is deleted first, so that watchers see one object go and the other
// come. It returns what has been done when it fails, too.
//
// Each key is written at a revision of its own. One transaction for many would be
// faster, but watch caches and informers take a revision for one change of a
// resource: who lists while a cache has seen some of the changes, or resumes a
// watch in the middle of them, would never hear of the others.
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
