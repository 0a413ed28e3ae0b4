// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"io"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/etcd/restore"
)

// DefaultRevisionBump is a billion, the value that etcd's documentation gives for
// Kubernetes: no cluster makes as many writes between a snapshot and its restore.
const DefaultRevisionBump uint64 = restore.DefaultRevisionBump

// RestoreConfig configures the restore of a snapshot. Only Dir is required.
type RestoreConfig struct {
	// Dir is the data directory to make. It must be missing or without a member's data.
	Dir string

	// Name and PeerURL are the name and the URL of a member that other members are going
	// to join. If empty, the member is standalone. In any case it is a new cluster.
	Name, PeerURL string

	// RevisionBump is added to the revision of the snapshot, and all earlier revisions
	// are marked as compacted. Clients that saw revisions after the snapshot then have to
	// relist, instead of getting different data under the same revisions. If zero,
	// DefaultRevisionBump.
	RevisionBump uint64

	// Drop, if not nil, reports whether to leave a key with this value out of the
	// restored data, as if it had been deleted after the snapshot. It is called for every
	// revision of a key in order, and its last result counts. It must not keep or change
	// its arguments. Dropped, if not nil, is then called for each key that was left out.
	Drop    func(key, value []byte) bool
	Dropped func(key []byte)

	// Logger receives etcd's log. If nil, nothing is logged.
	Logger *zap.Logger
}

// Validate reports every problem of c in one error that names the fields.
func (c RestoreConfig) Validate() error { return restore.Config(c).Validate() }

// RestoreSnapshot makes a data directory from a snapshot of "etcdctl snapshot save" or
// Member.Snapshot, which it checks from end to end: its SHA-256, and every page and
// revision of the database. All data is synced when it returns. While it works it needs
// space for two copies of the database.
//
// If it fails it leaves nothing behind. If the process is killed, it leaves a directory
// that Start refuses and RestoreSnapshot accepts again. It returns ErrCorrupt, ErrInUse,
// ErrNoSpace and ErrNewerVersion, wrapped, and ErrHasData for a directory with a member's
// data.
func RestoreSnapshot(ctx context.Context, cfg RestoreConfig, r io.Reader) error {
	restoring, err := restore.Begin(restore.Config(cfg))
	if err != nil {
		return err
	}
	defer restoring.Abort()
	if err := restoring.Receive(ctx, r); err != nil {
		return err
	}
	if err := restoring.Prepare(ctx); err != nil {
		return err
	}
	return restoring.Commit(ctx)
}
