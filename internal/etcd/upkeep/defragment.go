// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package upkeep

import (
	"context"
	"os"
	"slices"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/etcd/diskguard"
)

// Defragmentation copies the data in use to a new file, while reads and writes wait. It
// is due when more of the file is free than in use, and the free part is worth the pause.
const (
	fragmentBytes = 64 << 20
	// A larger database is left for the next start, or for the alarm of the quota. See
	// BenchmarkDefragment: on a busy machine with two cores writers waited 0.2 s for 10
	// MB of pods in use and 2.8 s for 100 MB; with 500 MB their requests timed out.
	pauseBytes = 128 << 20
	// A defragmentation that begins in the first half of a turn ends in the turn. Clocks
	// may differ by some seconds.
	turnLength = 10 * time.Second
	// The number of rounds that a leader leaves to followers, on which clients do not
	// wait.
	followersFirst = 1
)

// fragmented reports whether a defragmentation is due.
func (u *Upkeep) fragmented() bool {
	size, inUse := u.server.Backend().Size(), u.server.Backend().SizeInUse()
	return size-inUse >= max(fragmentBytes, inUse) && inUse <= pauseBytes
}

// UntilTurn returns the time until this member may defragment; zero is now. The members
// of a cluster take turns, by the clock, because two that pause at once could leave the
// others without a majority. The leader leaves the first round to the others.
func (u *Upkeep) UntilTurn(now time.Time) time.Duration {
	members := u.server.Cluster().Members() // sorted by ID
	if len(members) == 1 {
		return 0
	}
	own := u.server.MemberID()
	turn := untilTurn(now, slices.IndexFunc(members, func(m *membership.Member) bool { return m.ID == own }), len(members))
	if u.server.Leader() != own {
		u.wantedSince = time.Time{}
		return turn
	}
	if u.wantedSince.IsZero() {
		u.wantedSince = now
	}
	return max(turn, followersFirst*turnLength*time.Duration(len(members))-now.Sub(u.wantedSince))
}

// untilTurn is zero in the first half of a turn. A defragmentation that begins later
// would last into the next member's turn, or begin in it if the clock is slow.
func untilTurn(now time.Time, index, members int) time.Duration {
	round := turnLength * time.Duration(members)
	// Computed from Unix time, which is the same on all machines.
	passed := time.Duration(now.UnixNano()) - turnLength*time.Duration(index)
	passed %= round
	if passed < turnLength/2 {
		return 0
	}
	return round - passed
}

// defragment defragments the database, unless the disk is too full or a snapshot is in
// progress. The next turn tries again.
func (u *Upkeep) defragment(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	inUse := u.server.Backend().SizeInUse()
	if free, ok := u.disk.Free(); ok && free < inUse+u.disk.NeedDeleting() {
		u.lg.Warn("database not defragmented: the disk has too little space for a copy", zap.Int64("free", free), zap.Int64("need", inUse+u.disk.NeedDeleting()))
		return
	}
	if !u.snapshots.TryLock() {
		return // it would wait for the snapshot, and block all requests
	}
	defer u.snapshots.Unlock()
	// Not under contain.Run: its locks must stay held if it gives up.
	before, begin := u.server.Backend().Size(), time.Now()
	if err := u.server.Defragment(); err != nil {
		u.lg.Warn("database not defragmented; will retry", zap.Error(err))
		return
	}
	u.lg.Info("database defragmented", zap.Int64("before", before), zap.Int64("size", u.server.Backend().Size()), zap.Duration("took", time.Since(begin)))
}

// StartDefragmentMB returns embed's BootstrapDefragThresholdMegabytes for a directory:
// the free part of the database from which etcd defragments it before the member serves.
func StartDefragmentMB(s *diskguard.Guard) uint {
	info, err := os.Stat(datadir.ToBackendFileName(s.Dir()))
	if err != nil {
		return 0
	}
	// A start must not fail because there is no space for a copy.
	if free, ok := s.Free(); !ok || free < info.Size()+s.Need() {
		return 0
	}
	return uint(max(fragmentBytes, info.Size()/2) >> 20)
}
