package etcd

import (
	"context"
	"io"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/etcd/restore"
)

// DefaultRevisionBump is the one that etcd's documentation gives for Kubernetes: no
// cluster writes as often between a snapshot and its restore.
const DefaultRevisionBump uint64 = restore.DefaultRevisionBump

// RestoreConfig says what to make of a snapshot. Only Dir is required.
type RestoreConfig struct {
	// Dir is the data directory to make: missing, or one without a member's data.
	Dir string

	// Name and PeerURL are those of the member, for one that other members are going
	// to join. If empty, it is alone. It is a new cluster in any case.
	Name, PeerURL string

	// RevisionBump is added to the revision of the snapshot, and all before that is
	// marked as compacted. Clients that saw revisions which the snapshot does not have
	// are then told to read everything anew, instead of other things under the same
	// revisions. If zero, DefaultRevisionBump.
	RevisionBump uint64

	// Drop, if not nil, reports whether a key with this value is left out of the restored
	// data, as if it had been deleted after the snapshot. It is called for every
	// revision of a key in order, and its last answer counts. It must not keep or change
	// its arguments. Dropped, if not nil, is then called for each key that was left out.
	Drop    func(key, value []byte) bool
	Dropped func(key []byte)

	// Logger receives what etcd says. If nil, nothing is logged.
	Logger *zap.Logger
}

// Validate reports every problem of c in one error that names the fields.
func (c RestoreConfig) Validate() error { return restore.Config(c).Validate() }

// RestoreSnapshot makes a data directory of a snapshot of "etcdctl snapshot save" or
// Member.Snapshot, which it checks from end to end: its SHA-256, and every page and
// revision of the database. All is on the disk when it returns. While it works it
// takes room for the database twice.
//
// If it fails nothing is left of it, and if the process is killed, a directory that
// Start refuses, in which RestoreSnapshot can be called again. It returns ErrCorrupt,
// ErrInUse, ErrNoSpace and ErrNewerVersion, wrapped, and ErrHasData for a directory with
// a member's data.
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
