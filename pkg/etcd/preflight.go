package etcd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/go-semver/semver"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// replay is what etcd does at a start to get where it was: it loads a snapshot,
// if there is one, and applies the entries of the log that follow.
type replay struct {
	snapshot uint64 // index of its last entry; zero without one
	entries  uint64
}

// hurry reports whether the member may campaign at once, see Member.elect.
func (r replay) hurry() bool {
	const dropsAfter = 100 // etcdserver's memorySnapshotCount
	return r.snapshot > 0 || r.entries <= dropsAfter
}

// preflight reads a data directory the way etcd is about to, so that what would
// end the process, or wait for ever, becomes an error while there is still
// nothing to clean up. The caller holds the directory's lock.
//
// Everything is read once more than etcd needs, but from the page cache the
// second time; BenchmarkRestart tells what it costs. alone tells that the member has
// no others.
//
// It returns what etcd is going to replay.
func preflight(ctx context.Context, c *containment, dir string, alone bool, lg *zap.Logger) (_ replay, err error) {
	haveWAL := wal.Exist(datadir.ToWALDir(dir))
	applied, err := checkDB(ctx, c, dir, haveWAL)
	if err != nil || !haveWAL {
		return replay{}, err
	}
	return checkWAL(c, dir, applied, alone, lg)
}

// checkDB reads the database and returns the index of the last raft entry
// that it has applied.
func checkDB(ctx context.Context, c *containment, dir string, haveWAL bool) (applied uint64, err error) {
	path := datadir.ToBackendFileName(dir)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && haveWAL:
		return 0, corrupt(path, errors.New("the file is missing, but there is a write-ahead log"))
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil // a new directory
	case err != nil:
		return 0, dirError(dir, err)
	case info.Size() == 0 && haveWAL:
		return 0, corrupt(path, errors.New("the file is empty"))
	case info.Size() == 0:
		return 0, nil // killed in its first start, before anything was stored
	}

	// If Open panics, only the file is there to be closed.
	var file *os.File
	var db *bbolt.DB
	defer func() {
		if db != nil {
			_ = db.Close()
		} else if file != nil {
			_ = file.Close()
		}
	}()
	err = c.run(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			ReadOnly: true,
			Timeout:  time.Nanosecond, // one try for the lock
			OpenFile: func(name string, flag int, perm os.FileMode) (f *os.File, err error) {
				file, err = os.OpenFile(name, flag, perm)
				return file, err
			},
		})
		if err != nil {
			return err
		}
		return db.View(func(tx *bbolt.Tx) (err error) {
			// Reading mapped pages beyond the end of the file is a fault.
			if tx.Size() > info.Size() {
				return fmt.Errorf("the file has %d bytes of %d", info.Size(), tx.Size())
			}
			if err := checkVersion(tx); err != nil {
				return err
			}
			if name, _ := tx.Cursor().First(); name != nil && tx.Bucket(schema.Meta.Name()) == nil {
				return fmt.Errorf("it is the database of another program: it has %q, and nothing of etcd", name)
			}
			applied = uint64At(tx, schema.Meta.Name(), schema.MetaConsistentIndexKeyName)
			pageSize := uint64(db.Info().PageSize)
			root := uint64(tx.Cursor().Bucket().Root())
			if err := newPageCheck(file, pageSize, uint64(tx.Size())/pageSize).tree(root, nil, nil); err != nil {
				return err
			}
			return checkRevisions(ctx, tx)
		})
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return 0, fieldpath.New("etcd", "Config.Dir", "%s: %w: another etcd has %s open: stop it, or name another directory", dir, ErrInUse, path)
	case err != nil && ctx.Err() != nil:
		return 0, err
	case errors.Is(err, ErrNewerVersion), errors.Is(err, fs.ErrPermission):
		return 0, fieldpath.New("etcd", "Config.Dir", "%s: %w", path, err)
	case err != nil:
		return 0, corrupt(path, err)
	case applied > 0 && !haveWAL:
		return 0, corrupt(datadir.ToWALDir(dir), errors.New("the write-ahead log is missing, but the database has data"))
	}
	return applied, nil
}

// checkVersion refuses what etcd's MustDetectDowngrade would end the process
// for. Both versions are compared by major and minor, as etcd does.
func checkVersion(tx *bbolt.Tx) error {
	for _, at := range []struct{ bucket, key []byte }{
		{schema.Cluster.Name(), schema.ClusterClusterVersionKeyName},
		{schema.Meta.Name(), schema.MetaStorageVersionName},
	} {
		value := valueAt(tx, at.bucket, at.key)
		if value == nil {
			continue
		}
		if err := checkNotNewer(string(at.key), string(value)); err != nil {
			return err
		}
	}
	return nil
}

func checkNotNewer(name, value string) error {
	ours := semver.Must(semver.NewVersion(version.Version))
	theirs, err := semver.NewVersion(value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if theirs.Major > ours.Major || theirs.Major == ours.Major && theirs.Minor > ours.Minor {
		return fmt.Errorf("%w: %s is %s, this is etcd %s: use the newer version, or restore a snapshot or backup from before the upgrade",
			ErrNewerVersion, name, theirs, ours)
	}
	return nil
}

// checkRevisions reads every revision, as etcd does when it rebuilds its index.
// etcd does it in a goroutine of its own and panics there.
func checkRevisions(ctx context.Context, tx *bbolt.Tx) error {
	b := tx.Bucket(schema.Key.Name())
	if b == nil {
		return nil
	}
	n := 0
	return b.ForEach(func(key, value []byte) error {
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return startError(context.Cause(ctx))
		}
		if len(key) < 17 || len(key) > 18 || key[8] != '_' {
			return fmt.Errorf("%x is no revision", key)
		}
		if err := checkMessage(value); err != nil {
			return fmt.Errorf("revision %x: %w", key, err)
		}
		return nil
	})
}

// checkMessage returns an error where proto.Unmarshal does for a message of numbers and
// bytes, as mvccpb.KeyValue. It is several times as fast.
func checkMessage(data []byte) error {
	for len(data) > 0 {
		number, _, n := protowire.ConsumeField(data)
		switch {
		case n < 0:
			return protowire.ParseError(n)
		case number > protowire.MaxValidNumber:
			return errors.New("invalid field number")
		}
		data = data[n:]
	}
	return nil
}

// errOlderEntries says that the log has requests of an etcd whose form is gone. etcd 3.6 alone
// does not help: its log begins after them only once it has written 10,000 entries more.
var errOlderEntries = errors.New("its log has requests in the form of etcd 3.5 or older, which etcd 3.7 cannot apply: " +
	"start etcd 3.6 on it once with --snapshot-count=1, after which they are no longer read")

// checkEntries finds what etcd would end the process for when it applies the entry, in a
// goroutine of its own: requests of an older etcd, and the cluster version of a newer one,
// which is in the log but not yet in the database where that one was killed soon after its
// start.
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
			if err := checkNotNewer("clusterVersion", set.GetVer()); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkWAL reads the write-ahead log from the snapshot that etcd would choose.
// A torn last record is what a crash leaves and etcd repairs it, see checkTail; a
// log that ends before what the database has applied is a lost one.
func checkWAL(c *containment, dir string, applied uint64, alone bool, lg *zap.Logger) (r replay, err error) {
	walDir := datadir.ToWALDir(dir)
	err = c.run(func() error {
		entries, err := wal.ValidSnapshotEntries(lg, walDir)
		if err != nil {
			return err
		}
		// As etcd does, which no longer reads the files of snapshots, only their records.
		newest := &walpb.Snapshot{}
		if n := len(entries); n > 0 {
			newest = entries[n-1]
		}
		from := newest.GetIndex()
		// A member that was sent the database of another has it beside its own until
		// the snapshot is written down.
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
		if err := checkTail(walDir, last, alone); err != nil {
			return err
		}
		if last < applied {
			return fmt.Errorf("it ends at entry %d, but the database has applied entry %d", last, applied)
		}
		r = replay{snapshot: from, entries: last - from}
		return nil
	})
	if errors.Is(err, errOlderEntries) {
		return r, fieldpath.New("etcd", "Config.Dir", "%s: %w", dir, err)
	}
	if err != nil {
		at := filepath.Join(walDir, "*.wal")
		if f := (*fileError)(nil); errors.As(err, &f) {
			at = f.path
		}
		if errors.Is(err, ErrNewerVersion) {
			return r, fieldpath.New("etcd", "Config.Dir", "%s: %w", at, err)
		}
		return r, corrupt(at, err)
	}
	return r, nil
}

func valueAt(tx *bbolt.Tx, bucket, key []byte) []byte {
	b := tx.Bucket(bucket)
	if b == nil {
		return nil
	}
	return b.Get(key)
}

func uint64At(tx *bbolt.Tx, bucket, key []byte) uint64 {
	if v := valueAt(tx, bucket, key); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func corrupt(path string, err error) error {
	// Where bbolt noticed the damage is of no use to anybody.
	if p := (*panicError)(nil); errors.As(err, &p) {
		err = fmt.Errorf("%v", p.value)
	}
	return fieldpath.New("etcd", "Config.Dir", "%w: %s: %w: restore the directory from a backup, or name an empty one", ErrCorrupt, path, err)
}
