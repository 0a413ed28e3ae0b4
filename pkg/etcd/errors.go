// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import "github.com/kubembed/kubembed/internal/etcd/errdefs"

// Errors of Start, for errors.Is. They are permanent until the configuration or the
// directory changes, except ErrInUse, which ends with the other owner.
var (
	// ErrInUse says that a running member of this or another process holds the data
	// directory. Locks end with their process: the directory of a killed process is free.
	ErrInUse = errdefs.ErrInUse

	// ErrNewerVersion says that a newer etcd wrote the data directory. etcd does not
	// support downgrades: use the newer version, or restore a backup.
	ErrNewerVersion = errdefs.ErrNewerVersion

	// ErrCorrupt says that a file of the data directory is damaged or missing. The error
	// names the file. Restore the directory from a backup.
	ErrCorrupt = errdefs.ErrCorrupt

	// ErrNoSpace says that the disk of the data directory has too little space. The error
	// has the free and the needed bytes. Start returns it, and Member.CheckSpace while
	// writes are refused.
	ErrNoSpace = errdefs.ErrNoSpace

	// ErrOtherMember says that the data directory belongs to another member: one of a
	// cluster where this one is standalone, or the reverse, or one with another name or
	// address.
	ErrOtherMember = errdefs.ErrOtherMember

	// ErrOtherCluster says that the members at the addresses of Config.Cluster belong to
	// another cluster.
	ErrOtherCluster = errdefs.ErrOtherCluster

	// ErrRemoved says that the cluster does not know this member: it was removed, or
	// never added. Member.Err wraps it when a running member is removed.
	ErrRemoved = errdefs.ErrRemoved

	// ErrDataMissing says that the data of a member is no longer in its directory. The
	// member must not restart without data: others rely on the writes that it has
	// acknowledged. Start learns it from the other members of a cluster; package
	// controlplane also from its record beside the directory.
	ErrDataMissing = errdefs.ErrDataMissing

	// ErrHasData is returned by RestoreSnapshot for a directory that has a member's data.
	ErrHasData = errdefs.ErrHasData
)

// ErrClosed is returned by DialContext after Close, or once the member has failed.
var ErrClosed = errdefs.ErrClosed
