package controlplane

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/checkpoint"
)

// Checkpoint is the state of a control plane at a moment.
type Checkpoint struct {
	server  *Server
	stored  *checkpoint.Checkpoint
	restore sync.Mutex
	undone  map[string]bool // in the present Restore
}

// Checkpoint remembers every object that there is, for Restore. It is meant for
// tests and demonstrations, not for backups: it is kept in memory, in some
// hundred bytes for each object on top of the object itself, and it is of this
// Server only. It takes a millisecond or so for a new control plane.
func (s *Server) Checkpoint(ctx context.Context) (*Checkpoint, error) {
	stored, err := checkpoint.Take(ctx, s.etcd.Client(), s.config.Etcd.Prefix+"/")
	if err != nil {
		return nil, fmt.Errorf("controlplane: checkpoint: %w", err)
	}
	c := &Checkpoint{server: s, stored: stored}
	c.awaitLate()
	return c, nil
}

// quiet is how long at least nothing may have changed when Restore returns:
// controllers may be about to make a request when what they write into goes. On
// a busy machine that takes longer, and so does what Restore does.
const quiet = 5 * time.Millisecond

// writesTimeout is how long requests in flight get to end: one may hang in a webhook.
const writesTimeout = time.Second

// Rollback brings the control plane back to the checkpoint: what was created since
// then is deleted, what was changed or deleted is as it was, with its UID. It does
// so in etcd. Finalizers, webhooks and policies have no say, and nothing is
// restarted: watches and informers see it as deletions, additions and
// modifications. Resource versions go on.
//
// When Rollback returns the control plane has taken notice: authorization,
// admission and quotas are those of the checkpoint, custom resources that are gone
// are not served, and controllers have written no more. That takes milliseconds,
// some tens where custom resources were defined, and up to a second where
// admission policies were.
//
// What is written meanwhile is lost, or, if it does not end, keeps Rollback from
// returning: stop controllers, managers and other clients of your own before. Requests
// in flight get a second to end.
// When ctx ends the error says which keys keep changing.
//
// These stay as they are: Leases of the time of the checkpoint, which are
// heartbeats, and Events of that time. Tokens of service accounts are believed for
// up to ten seconds after their account is gone, as they always are.
//
// Rollback may be called any number of times, once at a time: later calls wait.
func (c *Checkpoint) Rollback(ctx context.Context) error {
	c.restore.Lock()
	defer c.restore.Unlock()
	var last []checkpoint.Difference
	calm, took := false, time.Duration(0)
	c.undone = map[string]bool{}
	patience := newPatience()
	c.awaitWrites(ctx)
	for {
		differences, err := c.differences(ctx)
		var terminating bool
		if err == nil {
			terminating, err = c.terminating(ctx, differences, patience)
		}
		if err == nil {
			switch {
			case terminating:
				err = pause(ctx, quiet)
			case len(differences) > 0:
				last, calm = differences, false
				begin := time.Now()
				err = c.undo(ctx, differences)
				took = time.Since(begin)
			case calm || last == nil:
				return nil
			default:
				calm = true
				if err = pause(ctx, max(quiet, took/2)); err == nil {
					c.awaitWrites(ctx)
				}
			}
		}
		if err != nil {
			return restoreError(ctx, last, err)
		}
	}
}

// awaitWrites lets requests in flight end, of which those of controllers would write
// after the restore.
func (c *Checkpoint) awaitWrites(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, writesTimeout)
	defer cancel()
	_ = c.server.apiserver.WaitForWrites(ctx) // If they do not end they are no controller's.
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func restoreError(ctx context.Context, last []checkpoint.Difference, err error) error {
	const most = 10
	if ctx.Err() == nil || len(last) == 0 {
		return fmt.Errorf("controlplane: restore: %w", err)
	}
	var keys []string
	for _, d := range last[:min(most, len(last))] {
		keys = append(keys, d.Key)
	}
	if len(last) > most {
		keys = append(keys, fmt.Sprintf("and %d more", len(last)-most))
	}
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return fmt.Errorf("controlplane: restore: %w: stop what writes before the restore; differences were: %s", err, strings.Join(keys, ", "))
}

// differences are those that Restore undoes.
func (c *Checkpoint) differences(ctx context.Context) ([]checkpoint.Difference, error) {
	all, err := c.stored.Differences(ctx)
	if err != nil {
		return nil, err
	}
	kept := all[:0]
	for _, d := range all {
		if !c.ignored(d) {
			kept = append(kept, d)
		}
	}
	return c.late(ctx, kept)
}

// undo undoes differences step by step.
func (c *Checkpoint) undo(ctx context.Context, differences []checkpoint.Difference) error {
	all := c.steps(differences)
	last := len(all) - 1
	for _, step := range all[:last] {
		if err := c.step(ctx, step); err != nil {
			return err
		}
	}
	if err := c.deleteAPIs(ctx, all[last]); err != nil {
		return err
	}
	return c.server.apiserver.WaitForAPIs(ctx, c.apis(differences))
}

// step undoes differences, and waits until the API server knows of it.
func (c *Checkpoint) step(ctx context.Context, differences []checkpoint.Difference) error {
	if len(differences) == 0 {
		return nil
	}
	undone, err := c.stored.Undo(ctx, differences)
	if err != nil {
		return err
	}
	changes := make([]access.StoredChange, 0, len(undone))
	for _, d := range undone {
		c.undone[d.Key] = true
		changes = append(changes, access.StoredChange{Key: d.Key, Deleted: d.Deleted, Revision: d.Revision})
	}
	return c.server.apiserver.WaitForStored(ctx, changes)
}
