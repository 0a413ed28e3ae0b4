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

// Defragmentation copies what is in use to a new file. It is due when more is free
// than in use, and worth the pause: reads and writes wait for it.
const (
	fragmentBytes = 64 << 20
	// A larger database is left for the next start, or for the alarm of the quota.
	// See BenchmarkDefragment: on a busy machine with two cores writers waited 0.2 s
	// for 10 MB of pods in use, 2.8 s for 100 MB, and with 500 MB etcd told them that
	// their requests had timed out.
	pauseBytes = 128 << 20
	// What is begun in the first half of a turn ends in it, and clocks may differ by
	// some seconds.
	turnLength = 10 * time.Second
	// How many rounds a leader leaves to followers, which nobody waits for.
	followersFirst = 1
)

// fragmented tells whether a defragmentation is due.
func (u *Upkeep) fragmented() bool {
	size, inUse := u.server.Backend().Size(), u.server.Backend().SizeInUse()
	return size-inUse >= max(fragmentBytes, inUse) && inUse <= pauseBytes
}

// UntilTurn returns how long it is until this member may defragment: zero is now. The
// members of a cluster take turns, by the clock, because two that pause at once could
// leave the others without a majority, and the leader leaves the first to the others.
func (u *Upkeep) UntilTurn(now time.Time) time.Duration {
	members := u.server.Cluster().Members() // sorted by ID
	if len(members) == 1 {
		return 0
	}
	own := u.server.MemberID()
	turn := untilTurn(now, slices.IndexFunc(members, func(m *membership.Member) bool { return m.ID == own }), len(members))
	if u.server.Leader() != own {
		u.wished = time.Time{}
		return turn
	}
	if u.wished.IsZero() {
		u.wished = now
	}
	return max(turn, followersFirst*turnLength*time.Duration(len(members))-now.Sub(u.wished))
}

// untilTurn is zero from the beginning to the middle of a turn: what is begun later
// would last into the next member's, or begin in it, with a clock that is behind.
func untilTurn(now time.Time, index, members int) time.Duration {
	round := turnLength * time.Duration(members)
	// Of the Unix time, which is the same on all machines.
	passed := time.Duration(now.UnixNano()) - turnLength*time.Duration(index)
	passed %= round
	if passed < turnLength/2 {
		return 0
	}
	return round - passed
}

// defragment does it, if nothing speaks against it: it is tried again.
func (u *Upkeep) defragment(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	inUse := u.server.Backend().SizeInUse()
	if free, ok := u.disk.Free(); ok && free < inUse+u.disk.NeedDeleting() {
		u.lg.Warn("the database is not defragmented: the disk has too little room for a copy", zap.Int64("free", free), zap.Int64("need", inUse+u.disk.NeedDeleting()))
		return
	}
	if !u.snapshots.TryLock() {
		return // it would wait for the snapshot, and everybody for it
	}
	defer u.snapshots.Unlock()
	// Not under contain.run: what it holds when it gives up must not be let go.
	before, begin := u.server.Backend().Size(), time.Now()
	if err := u.server.Defragment(); err != nil {
		u.lg.Warn("the database is not defragmented; it will be tried again", zap.Error(err))
		return
	}
	u.lg.Info("the database was defragmented", zap.Int64("before", before), zap.Int64("size", u.server.Backend().Size()), zap.Duration("took", time.Since(begin)))
}

// StartDefragmentMB is embed's BootstrapDefragThresholdMegabytes for a directory: how
// much must be free for a defragmentation before the member serves.
func StartDefragmentMB(s *diskguard.Guard) uint {
	info, err := os.Stat(datadir.ToBackendFileName(s.Dir()))
	if err != nil {
		return 0
	}
	// A start must not fail for want of the room for a copy.
	if free, ok := s.Free(); !ok || free < info.Size()+s.Need() {
		return 0
	}
	return uint(max(fragmentBytes, info.Size()/2) >> 20)
}
