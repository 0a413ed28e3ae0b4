package upkeep

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.uber.org/zap"
)

// reclaimBytes is how much must be free in the database for a defragmentation on a full
// disk.
const reclaimBytes = 4 << 20

// reclaim gives room back to a disk that has too little: history that the API server would
// have compacted, which notes each compaction with a write and is refused; deleted
// objects; and the log up to the last snapshot of raft's. etcd keeps five segments of that,
// which are more than a small disk has.
func (u *Upkeep) reclaim(ctx context.Context) {
	u.compact(ctx)
	u.recount()
	size, inUse := u.server.Backend().Size(), u.server.Backend().SizeInUse()
	if size-inUse >= reclaimBytes && inUse <= pauseBytes && u.UntilTurn(time.Now()) == 0 {
		u.defragment(ctx)
	}
	u.purgeLog(ctx)
}

// purgeLog deletes the segments of the log that no start needs, but never the last.
func (u *Upkeep) purgeLog(ctx context.Context) {
	segments, _ := filepath.Glob(filepath.Join(datadir.ToWALDir(u.disk.Dir()), "*.wal"))
	if len(segments) < 2 || ctx.Err() != nil {
		return
	}
	// The next entry is followed by a snapshot of raft's, which a start replays the log from.
	// Upstream's flag is a bool without a lock: at worst the entry after the next is.
	u.server.ForceSnapshot()
	// While all writes are refused there may be no next entry. This one deletes nothing.
	err := u.Call(ctx, func(ctx context.Context) error {
		_, err := u.server.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte{0}})
		return err
	})
	if err != nil {
		u.lg.Warn("the log is not shortened; it will be tried again", zap.Error(err))
		return
	}
	slices.Sort(segments)
	for _, path := range segments[:len(segments)-1] {
		// etcd keeps those locked that follow its snapshot.
		file, err := fileutil.TryLockFile(path, os.O_WRONLY, fileutil.PrivateFileMode)
		if err == nil {
			err = errors.Join(os.Remove(path), file.Close())
		}
		if errors.Is(err, fileutil.ErrLocked) {
			return
		}
		if err != nil {
			u.lg.Warn("a segment of the log that is not needed any more is not deleted", zap.Error(err))
			return
		}
	}
}
