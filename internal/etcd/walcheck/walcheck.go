// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package walcheck reads the write-ahead log of a data directory before etcd does. It
// distinguishes the end that a crash leaves, which etcd repairs, from damage that loses
// acknowledged entries.
package walcheck

import (
	"errors"
	"fmt"
	"path/filepath"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/etcd/dbcheck"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// errOlderEntries says that the log has requests in a form that etcd no longer supports.
// A start of etcd 3.6 is not enough: its log begins after them only once it has written
// 10,000 more entries.
var errOlderEntries = errors.New("its log has requests in the form of etcd 3.5 or older, which etcd 3.7 cannot apply: " +
	"start etcd 3.6 on it once with --snapshot-count=1, after which they are no longer read")

// checkEntries finds entries for which etcd would end the process when it applies them in
// a goroutine of its own: requests of an older etcd, and the cluster version of a newer
// one. The latter is in the log and not yet in the database if the newer etcd was killed
// soon after its start.
func checkEntries(entries []*raftpb.Entry) error {
	var request pb.InternalRaftRequest
	for _, e := range entries {
		if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 {
			continue
		}
		request.Reset()
		if proto.Unmarshal(e.GetData(), &request) != nil || request.GetID() == 0 && request.GetHeader() == nil {
			return fmt.Errorf("entry %d: %w", e.GetIndex(), errOlderEntries)
		}
		if set := request.GetClusterVersionSet(); set != nil {
			if err := dbcheck.CheckNotNewer("clusterVersion", set.GetVer()); err != nil {
				return err
			}
		}
	}
	return nil
}

// Check reads the write-ahead log from the snapshot that etcd would choose. A crash
// leaves a torn last record, which etcd repairs, see CheckEnd. A log that ends before the
// last entry that the database has applied is incomplete.
func Check(c *contain.Containment, dir string, applied uint64, standalone bool, lg *zap.Logger) (r Replay, err error) {
	walDir := datadir.ToWALDir(dir)
	err = c.Run(func() error {
		entries, err := wal.ValidSnapshotEntries(lg, walDir)
		if err != nil {
			return err
		}
		// Like etcd, which reads only the records of snapshots and no longer their files.
		newest := &walpb.Snapshot{}
		if n := len(entries); n > 0 {
			newest = entries[n-1]
		}
		from := newest.GetIndex()
		// A member that received the database of another has it beside its own until the
		// snapshot is recorded.
		if _, err := snap.New(lg, datadir.ToSnapDir(dir)).DBFilePath(from); from > applied && err != nil {
			return fmt.Errorf("the snapshot is at entry %d, but the database at %d", from, applied)
		}
		w, err := wal.OpenForRead(lg, walDir, newest)
		if err != nil {
			return err
		}
		defer func() { _ = w.Close() }()
		metadata, _, ents, err := w.ReadAll()
		if err != nil {
			return err
		}
		if len(metadata) == 0 {
			return errors.New("it has no header")
		}
		if err := checkEntries(ents); err != nil {
			return err
		}
		last := from
		if n := len(ents); n > 0 {
			last = ents[n-1].GetIndex()
		}
		if err := CheckEnd(walDir, last, standalone); err != nil {
			return err
		}
		if last < applied {
			return fmt.Errorf("it ends at entry %d, but the database has applied entry %d", last, applied)
		}
		r = Replay{Snapshot: from, Entries: last - from}
		return nil
	})
	return r, logError(dir, walDir, err)
}

// logError returns the error of a start for an error of reading the log.
func logError(dir, walDir string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, errOlderEntries) {
		return fieldpath.New("etcd", "Config.Dir", "%s: %w", dir, err)
	}
	path := filepath.Join(walDir, "*.wal")
	if f := (*fileError)(nil); errors.As(err, &f) {
		path = f.path
	}
	if errors.Is(err, errdefs.ErrNewerVersion) {
		return fieldpath.New("etcd", "Config.Dir", "%s: %w", path, err)
	}
	return errdefs.Corrupt(path, err)
}

// Replay describes how etcd restores its state at a start: it loads a snapshot, if there
// is one, and applies the later entries of the log.
type Replay struct {
	Snapshot uint64 // index of its last entry; zero without one
	Entries  uint64
}

// CanCampaign reports whether the member may campaign at once, see elect in pkg/etcd.
func (r Replay) CanCampaign() bool {
	const dropsAfter = 100 // etcdserver's memorySnapshotCount
	return r.Snapshot > 0 || r.Entries <= dropsAfter
}
