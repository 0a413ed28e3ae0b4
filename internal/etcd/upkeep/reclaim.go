// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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

// reclaimBytes is the free space in the database from which it is defragmented on a full
// disk.
const reclaimBytes = 4 << 20

// reclaim frees space on a disk that is almost full. It removes the history that the API
// server would have compacted, which records each compaction by a write that is refused
// now; deleted objects; and the log up to raft's last snapshot. etcd keeps five segments
// of the log, more than a small disk has.
func (u *Upkeep) reclaim(ctx context.Context) {
	u.compact(ctx)
	u.recount()
	size, inUse := u.server.Backend().Size(), u.server.Backend().SizeInUse()
	if size-inUse >= reclaimBytes && inUse <= pauseBytes && u.UntilTurn(time.Now()) == 0 {
		u.defragment(ctx)
	}
	u.purgeLog(ctx)
}

// purgeLog deletes the segments of the log that no start needs, and keeps the last one.
func (u *Upkeep) purgeLog(ctx context.Context) {
	segments, _ := filepath.Glob(filepath.Join(datadir.ToWALDir(u.disk.Dir()), "*.wal"))
	if len(segments) < 2 || ctx.Err() != nil {
		return
	}
	// A snapshot of raft follows the next entry, and a start replays the log from it.
	// Upstream's flag is a bool without a lock: at worst the snapshot follows the entry
	// after the next.
	u.server.ForceSnapshot()
	// While all writes are refused there may be no next entry. This request makes one and
	// deletes nothing.
	err := u.Call(ctx, func(ctx context.Context) error {
		_, err := u.server.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte{0}})
		return err
	})
	if err != nil {
		u.lg.Warn("write-ahead log not purged; will retry", zap.Error(err))
		return
	}
	slices.Sort(segments)
	for _, path := range segments[:len(segments)-1] {
		// etcd locks the segments after its snapshot.
		file, err := fileutil.TryLockFile(path, os.O_WRONLY, fileutil.PrivateFileMode)
		if err == nil {
			err = errors.Join(os.Remove(path), file.Close())
		}
		if errors.Is(err, fileutil.ErrLocked) {
			return
		}
		if err != nil {
			u.lg.Warn("segment of the write-ahead log not deleted", zap.Error(err))
			return
		}
	}
}
