// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package rollback brings what a control plane has stored back to a checkpoint, while the
// control plane runs.
package rollback

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubembed/kubembed/internal/apiserver/access"
	"github.com/kubembed/kubembed/internal/checkpoint"
	"github.com/kubembed/kubembed/internal/keyspace"
)

// Server is the API server whose objects a rollback writes to etcd.
type Server interface {
	// Drain cancels the syncs of controllers that write for long, and returns when they
	// and the mutating requests in flight have ended.
	Drain(ctx context.Context) error
	// WaitForStored returns when the server has applied changes that were made in etcd.
	WaitForStored(ctx context.Context, changes []access.StoredChange) error
	// WaitForAPIs returns when the server serves the existing ones of these custom
	// resources and group versions, and no others.
	WaitForAPIs(ctx context.Context, resources []schema.GroupResource, versions []schema.GroupVersion) error
}

// Config describes a rollback. All fields are required.
type Config struct {
	Checkpoint *checkpoint.Checkpoint
	Client     *clientv3.Client
	// Keyspace is the set of the keys of the objects.
	Keyspace keyspace.Keyspace
	Server   Server
	// StartupKeys are the keys that the control plane itself writes soon after its start,
	// below its prefix. They belong to every checkpoint.
	StartupKeys []string
	// Recreated reports whether controllers create a key of the checkpoint's namespaces
	// whenever it is missing. If it was missing in the checkpoint, it belongs to it from
	// then on: a rollback that deleted it again and again would not end.
	Recreated func(key string) bool
}

const (
	// settleTime is how long nothing may change before a rollback ends: controllers may
	// be about to make a request when the objects that they write to are deleted. It is
	// longer on a busy machine, where undoing takes longer too.
	settleTime = 5 * time.Millisecond
	// drainTimeout bounds the wait for requests in flight: one may hang in a webhook.
	drainTimeout = time.Second
)

// state is what a rollback does next.
type state int

const (
	// draining waits for requests in flight, so that controllers do not write after the
	// rollback. It is followed by comparing.
	draining state = iota
	// comparing finds the differences from the checkpoint. It is followed by awaitingCRDs
	// or undoing if there are any. Otherwise by done if nothing was undone, or nothing
	// has changed while settling; else by settling.
	comparing
	// awaitingCRDs waits for CRDs that upstream's finalizer is deleting. It is followed
	// by comparing.
	awaitingCRDs
	// undoing writes the differences back. It is followed by comparing.
	undoing
	// settling waits whether anything changes again. It is followed by draining.
	settling
	// done ends the rollback.
	done
)

func (s state) String() string {
	return [...]string{"waiting for requests in flight", "comparing", "waiting for CRDs", "undoing", "settling", "done"}[s]
}

// rollback is one run of the state machine.
type rollback struct {
	Config
	crdDeadlines crdDeadlines

	differences []checkpoint.Difference // as of the last comparing that found any
	settled     bool                    // nothing was undone since settling
	undoTime    time.Duration           // that the last undoing took
	undone      map[string]bool         // keys
}

// Run brings the objects back to the checkpoint. It returns when nothing changes any
// more. If ctx ends before, the error names the keys that keep changing.
func Run(ctx context.Context, c Config) error {
	r := &rollback{Config: c, undone: map[string]bool{}, crdDeadlines: newCRDDeadlines(time.Now())}
	for current := draining; current != done; {
		next, err := r.step(ctx, current)
		if err != nil {
			return r.explain(ctx, current, err)
		}
		current = next
	}
	return nil
}

// step does what a state stands for, and returns the state that follows.
func (r *rollback) step(ctx context.Context, current state) (next state, err error) {
	switch current {
	case draining:
		r.awaitWrites(ctx)
		return comparing, nil
	case comparing:
		return r.compare(ctx)
	case awaitingCRDs:
		return comparing, pause(ctx, settleTime)
	case undoing:
		r.settled = false
		begin := time.Now()
		err := r.undo(ctx, r.differences)
		r.undoTime = time.Since(begin)
		return comparing, err
	case settling:
		r.settled = true
		return draining, pause(ctx, max(settleTime, r.undoTime/2))
	}
	return done, nil
}

func (r *rollback) compare(ctx context.Context) (next state, err error) {
	found, err := r.find(ctx)
	if err != nil {
		return 0, err
	}
	terminating, err := r.awaitTerminating(ctx, found)
	switch {
	case err != nil:
		return 0, err
	case terminating:
		return awaitingCRDs, nil
	case len(found) > 0:
		r.differences = found
		return undoing, nil
	case r.settled || r.differences == nil:
		return done, nil
	}
	return settling, nil
}

// awaitWrites lets requests in flight end. Requests that do not end in time do not come
// from controllers.
func (r *rollback) awaitWrites(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	_ = r.Server.Drain(ctx)
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

// maxKeys is how many keys an error names.
const maxKeys = 10

// explain adds to the error of a rollback that was cut short what kept it from ending.
func (r *rollback) explain(ctx context.Context, current state, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	if len(r.differences) == 0 {
		return fmt.Errorf("%w (while %s)", err, current)
	}
	var keys []string
	for _, d := range r.differences[:min(maxKeys, len(r.differences))] {
		keys = append(keys, d.Key)
	}
	if more := len(r.differences) - maxKeys; more > 0 {
		keys = append(keys, fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("%w (while %s): stop what writes before the rollback; the last differences were: %s", err, current, strings.Join(keys, ", "))
}

// find returns the differences to undo.
func (r *rollback) find(ctx context.Context) ([]checkpoint.Difference, error) {
	all, err := r.Checkpoint.Differences(ctx)
	if err != nil {
		return nil, err
	}
	return r.adoptExpected(ctx, slices.DeleteFunc(all, r.ignored))
}

// undo undoes differences in the order that sorted returns.
func (r *rollback) undo(ctx context.Context, differences []checkpoint.Difference) error {
	all := r.sorted(differences)
	last := len(all) - 1
	for _, group := range all[:last] {
		if err := r.write(ctx, group); err != nil {
			return err
		}
	}
	if err := r.deleteAPIs(ctx, all[last]); err != nil {
		return err
	}
	return r.Server.WaitForAPIs(ctx, r.customResources(differences), r.groupVersions(differences))
}

// write undoes differences, and waits until the API server has applied that.
func (r *rollback) write(ctx context.Context, differences []checkpoint.Difference) error {
	if len(differences) == 0 {
		return nil
	}
	undone, err := r.Checkpoint.Undo(ctx, differences)
	if err != nil {
		return err
	}
	changes := make([]access.StoredChange, 0, len(undone))
	for _, d := range undone {
		r.undone[d.Key] = true
		changes = append(changes, access.StoredChange{Key: d.Key, Deleted: d.Deleted, Revision: d.Revision})
	}
	return r.Server.WaitForStored(ctx, changes)
}
