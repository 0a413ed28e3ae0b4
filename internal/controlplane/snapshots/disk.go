// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package snapshots

import (
	"context"
	"fmt"
	"io"
	"os"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/diskspace"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/pkg/etcd"
)

const (
	// overhead is the size of a snapshot without the database.
	overhead = 1 << 20
	// A snapshot on etcd's disk starts if this much more is free than etcd needs: a
	// segment of its log. It is cut short before etcd would refuse writes.
	spaceToStart    = 64 << 20
	spaceToContinue = 16 << 20
	// checkInterval is the number of bytes between two checks of the free space.
	checkInterval = 1 << 20
)

// Disk is the disk of a directory for snapshots. It keeps the space that etcd needs free.
type Disk struct {
	field string // of dir, for errors
	dir   string
	// data is etcd's directory, and needed returns the bytes that etcd wants free there.
	// needed is nil if etcd has no directory in this process.
	data   string
	needed func() int64
	free   func(dir string) (int64, bool)
	same   func(a, b string) bool
}

// NewDisk returns the disk of dir, which errors call field. data is etcd's directory, and
// needed returns the bytes that etcd wants free there. It is nil without an etcd member.
func NewDisk(field, dir, data string, needed func() int64) *Disk {
	return &Disk{field: field, dir: dir, data: data, needed: needed, free: diskspace.Free, same: diskspace.Same}
}

// shared returns the bytes that must stay free for etcd, and false if the snapshots are
// on another disk.
func (d *Disk) shared() (int64, bool) {
	if d.needed == nil || !d.same(d.dir, d.data) {
		return 0, false
	}
	return d.needed(), true
}

// noSpace returns etcd.ErrNoSpace with figures.
func (d *Disk) noSpace(free, snapshot, etcdNeeds int64) error {
	text := fmt.Sprintf("%d bytes are free, and the snapshot needs %d", free, snapshot)
	if etcdNeeds > 0 {
		text += fmt.Sprintf(" beside the %d of etcd on the same disk", etcdNeeds)
	}
	return fieldpath.New("", d.field, "%s: %w: %s: name a directory on another disk, set a lower %s, or delete other files", d.dir, etcd.ErrNoSpace, text, fieldpath.Name("Config.Snapshots.Keep"))
}

// makeRoom deletes the oldest snapshots until there is space for one of size bytes. It
// keeps the newest one that is not empty. If deletions cannot free enough space, it
// deletes only as many as etcd needs to accept writes.
func (d *Disk) makeRoom(present files, size int64, logger *zap.Logger) error {
	free, ok := d.free(d.dir)
	if !ok {
		return nil
	}
	size += overhead
	etcdNeeds, shared := d.shared()
	want, enough := size, size
	if shared {
		want += etcdNeeds + spaceToStart
		enough += etcdNeeds + spaceToContinue
		etcdNeeds += spaceToStart
	}
	if free >= want {
		return nil
	}
	spare := present.spare()
	if free+spare.bytes() >= want {
		if err := d.deleteUntil(want, free, spare, logger); err != nil {
			return err
		}
		// etcd may have used some of it meanwhile.
		want = enough
	} else if err := d.relieve(present, logger); err != nil {
		return err
	}
	if now, ok := d.free(d.dir); ok && now < want {
		return d.noSpace(now, size, etcdNeeds)
	}
	return nil
}

// low reports whether etcd has too little space to accept writes. It is for a disk that
// etcd shares: it reads only etcd's directory.
func (d *Disk) low() bool {
	free, ok := d.free(d.data)
	return ok && free < d.needed()
}

// relieve deletes the oldest snapshots until etcd accepts writes again.
func (d *Disk) relieve(present files, logger *zap.Logger) error {
	free, ok := d.free(d.dir)
	if etcdNeeds, shared := d.shared(); ok && shared && free < etcdNeeds {
		return d.deleteUntil(etcdNeeds+spaceToContinue, free, present.spare(), logger)
	}
	return nil
}

// deleteUntil deletes snapshots, the oldest first, until goal bytes are free.
func (d *Disk) deleteUntil(goal, free int64, spare files, logger *zap.Logger) error {
	deleted, have := 0, free
	for _, file := range spare.finished {
		if have >= goal {
			break
		}
		if err := os.Remove(file.Path); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("deleting an old snapshot: %w", err)
		}
		have += file.Size
		deleted++
	}
	if deleted > 0 {
		logger.Warn("deleted the oldest snapshots: too little free space on the disk",
			zap.Int("deleted", deleted), zap.Int64("bytes", have-free), zap.String("dir", d.dir))
	}
	return nil
}

// Writer returns a writer to w that fails when ctx has ended, and before etcd runs out of
// space on the same disk.
func (d *Disk) Writer(ctx context.Context, w io.Writer) io.Writer {
	return &diskWriter{disk: d, ctx: ctx, w: w}
}

type diskWriter struct {
	disk       *Disk
	ctx        context.Context
	w          io.Writer
	untilCheck int // bytes
}

func (w *diskWriter) Write(p []byte) (n int, err error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	if w.untilCheck -= len(p); w.untilCheck <= 0 {
		w.untilCheck = checkInterval
		if etcdNeeds, shared := w.disk.shared(); shared {
			etcdNeeds += spaceToContinue
			if free, ok := w.disk.free(w.disk.dir); ok && free < etcdNeeds {
				return 0, w.disk.noSpace(free, int64(len(p)), etcdNeeds)
			}
		}
	}
	return w.w.Write(p)
}
