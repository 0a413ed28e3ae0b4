package etcd

import (
	"context"
	"os"

	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.uber.org/zap"
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
	// How many turns a leader leaves to followers, which nobody waits for.
	followersFirst = 3
)

// fragmented tells whether a defragmentation is due.
func (u *upkeep) fragmented() bool {
	size, inUse := u.server.Backend().Size(), u.server.Backend().SizeInUse()
	return size-inUse >= max(fragmentBytes, inUse) && inUse <= pauseBytes
}

// myTurn makes the leader wait.
func (u *upkeep) myTurn() bool {
	if len(u.server.Cluster().Members()) == 1 || u.server.Leader() != u.server.MemberID() {
		u.leading = 0
		return true
	}
	u.leading++
	return u.leading > followersFirst
}

// defragment does it, if nothing speaks against it: it is tried again.
func (u *upkeep) defragment(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	inUse := u.server.Backend().SizeInUse()
	if free, ok := u.space.free(u.space.dir); ok && free < inUse+u.space.spare+spareDeleting {
		u.lg.Warn("the database is not defragmented: the disk has too little room for a copy", zap.Int64("free", free), zap.Int64("need", inUse+u.space.spare+spareDeleting))
		return
	}
	if !u.snapshots.TryLock() {
		return // it would wait for the snapshot, and everybody for it
	}
	defer u.snapshots.Unlock()
	// Not under contain.run: what it holds when it gives up must not be let go.
	if err := u.server.Defragment(); err != nil {
		u.lg.Warn("the database is not defragmented; it will be tried again", zap.Error(err))
	}
}

// startDefragmentMB is embed's BootstrapDefragThresholdMegabytes for a folder: how
// much must be free for a defragmentation before the member serves.
func startDefragmentMB(s *space) uint {
	info, err := os.Stat(datadir.ToBackendFileName(s.dir))
	if err != nil {
		return 0
	}
	// A start must not fail for want of the room for a copy.
	if free, ok := s.free(s.dir); !ok || free < info.Size()+s.spare+spareBytes {
		return 0
	}
	return uint(max(fragmentBytes, info.Size()/2) >> 20)
}
