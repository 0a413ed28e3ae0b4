package controlplane

import (
	"context"
	"fmt"
	"io"
	"os"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/diskspace"
	"github.com/kubembed/kubembed/pkg/etcd"
)

const (
	// snapshotOverhead is what a snapshot has besides the database.
	snapshotOverhead = 1 << 20
	// A snapshot on the disk of etcd begins when so much more is free than etcd needs:
	// a segment of its log. It ends when etcd is about to refuse writes.
	roomToBegin = 64 << 20
	roomToGoOn  = 16 << 20
	// roomInterval is after how many bytes the room is looked at again.
	roomInterval = 1 << 20
)

// room watches the disk of the snapshots.
type room struct {
	name string // of dir, for errors
	dir  string
	// data is etcd's directory, and needed are the bytes that etcd wants to be free
	// there. needed is nil where etcd is in no directory of this process.
	data   string
	needed func() int64
	free   func(dir string) (int64, bool)
	same   func(one, other string) bool
}

func newRoom(dir, data string, needed func() int64) *room {
	return &room{name: "Config.Snapshots.Dir", dir: dir, data: data, needed: needed, free: diskspace.Free, same: diskspace.Same}
}

// shared returns the bytes that must stay free for etcd, and false where the snapshots
// are on another disk.
func (r *room) shared() (int64, bool) {
	if r.needed == nil || !r.same(r.dir, r.data) {
		return 0, false
	}
	return r.needed(), true
}

// noRoom is etcd.ErrNoSpace with figures.
func (r *room) noRoom(free, snapshot, etcdNeeds int64) error {
	text := fmt.Sprintf("%d bytes are free, and the snapshot needs %d", free, snapshot)
	if etcdNeeds > 0 {
		text += fmt.Sprintf(" beside the %d of etcd on the same disk", etcdNeeds)
	}
	return fmt.Errorf("%s: %s: %w: %s: name a directory on another disk, set a lower Keep, or delete other files", r.name, r.dir, etcd.ErrNoSpace, text)
}

// make deletes the oldest snapshots until there is room for one of size bytes. The
// newest that is not empty stays. Where no deletion would make room for the snapshot,
// it deletes only what etcd needs to accept writes again.
func (r *room) make(files snapshotFiles, size int64, logger *zap.Logger) error {
	free, ok := r.free(r.dir)
	if !ok {
		return nil
	}
	size += snapshotOverhead
	etcdNeeds, shared := r.shared()
	want := size
	if shared {
		etcdNeeds += roomToBegin
		want += etcdNeeds
	}
	if free >= want {
		return nil
	}
	spare := files.spare()
	if free+spare.bytes() >= want {
		if err := r.deleteUntil(want, free, spare, logger); err != nil {
			return err
		}
	} else if err := r.relieve(files, logger); err != nil {
		return err
	}
	if now, ok := r.free(r.dir); ok && now < want {
		return r.noRoom(now, size, etcdNeeds)
	}
	return nil
}

// short reports whether etcd has too little room to accept writes. It is for a disk that
// is shared with etcd, so that this waits for no other.
func (r *room) short() bool {
	free, ok := r.free(r.data)
	return ok && free < r.needed()
}

// relieve deletes the oldest snapshots until etcd accepts writes again.
func (r *room) relieve(files snapshotFiles, logger *zap.Logger) error {
	free, ok := r.free(r.dir)
	if etcdNeeds, shared := r.shared(); ok && shared && free < etcdNeeds {
		return r.deleteUntil(etcdNeeds+roomToGoOn, free, files.spare(), logger)
	}
	return nil
}

// deleteUntil deletes snapshots, the oldest first, until goal bytes are free.
func (r *room) deleteUntil(goal, free int64, spare snapshotFiles, logger *zap.Logger) error {
	deleted, have := 0, free
	for _, file := range spare.finished {
		if have >= goal {
			break
		}
		if err := os.Remove(file.path); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("an old snapshot is not deleted: %w", err)
		}
		have += file.size
		deleted++
	}
	if deleted > 0 {
		logger.Warn("the oldest snapshots were deleted, because the disk has too little room for them",
			zap.Int("deleted", deleted), zap.Int64("bytes", have-free), zap.String("dir", r.dir))
	}
	return nil
}

// writer writes to w as long as ctx lasts and as etcd has room on the same disk.
func (r *room) writer(ctx context.Context, w io.Writer) io.Writer {
	return &roomWriter{room: r, ctx: ctx, w: w}
}

type roomWriter struct {
	room     *room
	ctx      context.Context
	w        io.Writer
	unlooked int
}

func (w *roomWriter) Write(p []byte) (n int, err error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	if w.unlooked -= len(p); w.unlooked <= 0 {
		w.unlooked = roomInterval
		if etcdNeeds, shared := w.room.shared(); shared {
			etcdNeeds += roomToGoOn
			if free, ok := w.room.free(w.room.dir); ok && free < etcdNeeds {
				return 0, w.room.noRoom(free, int64(len(p)), etcdNeeds)
			}
		}
	}
	return w.w.Write(p)
}
