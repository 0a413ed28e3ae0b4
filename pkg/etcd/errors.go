package etcd

import "github.com/kubembed/kubembed/internal/etcd/errdefs"

// Errors of Start, for errors.Is. None of them is worth a retry without a
// change by the user, except ErrInUse once the other user is gone.
var (
	// ErrInUse says that a running member, in this process or another one,
	// holds the data directory. Locks die with their process: a directory whose
	// process was killed is free.
	ErrInUse = errdefs.ErrInUse

	// ErrNewerVersion says that a newer etcd wrote the data directory. etcd
	// refuses to go back; use the newer version, or restore a backup.
	ErrNewerVersion = errdefs.ErrNewerVersion

	// ErrCorrupt says that a file of the data directory is damaged or missing.
	// The error's text names the file. Restore the directory from a backup.
	ErrCorrupt = errdefs.ErrCorrupt

	// ErrNoSpace says that the disk of the data directory has too little room. The
	// error's text tells how many bytes are free and how many are needed. Start
	// returns it, and Member.CheckSpace while writes are refused.
	ErrNoSpace = errdefs.ErrNoSpace

	// ErrOtherMember says that the data directory is of another member: of a cluster where
	// this one is alone, or the reverse, or of another name or address.
	ErrOtherMember = errdefs.ErrOtherMember

	// ErrOtherCluster says that the members at the addresses of Config.Cluster are of
	// another cluster than this one.
	ErrOtherCluster = errdefs.ErrOtherCluster

	// ErrRemoved says that the cluster does not know this member: it has been removed,
	// or not been added. Member.Err wraps it when a running member is removed.
	ErrRemoved = errdefs.ErrRemoved

	// ErrDataMissing says that the data of a member is not in its directory any more. It must
	// not begin again with nothing: others rely on the writes that it has acknowledged.
	// Start learns it from the other members of a cluster; package controlplane also
	// from its record beside the directory.
	ErrDataMissing = errdefs.ErrDataMissing

	// ErrHasData is returned by Restore for a directory that has a member's data.
	ErrHasData = errdefs.ErrHasData
)

// ErrClosed is returned by DialContext after Close, or once the member failed.
var ErrClosed = errdefs.ErrClosed
