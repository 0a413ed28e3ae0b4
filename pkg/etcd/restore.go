package etcd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/diskspace"
	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/etcd/dbcheck"
	"github.com/kubembed/kubembed/internal/etcd/diskguard"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/etcd/limits"
	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/etcd/memberdir"
	"github.com/kubembed/kubembed/internal/etcd/preflight"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/files"
)

// DefaultRevisionBump is the one that etcd's documentation gives for Kubernetes: no
// cluster writes as often between a snapshot and its restore.
const DefaultRevisionBump uint64 = 1_000_000_000

// RestoreConfig says what to make of a snapshot. Only Dir is required.
type RestoreConfig struct {
	// Dir is the data directory to make: missing, or one without a member's data.
	Dir string

	// Name and PeerURL are those of the member, for one that other members are going
	// to join. If empty, it is alone. It is a new cluster in any case.
	Name, PeerURL string

	// RevisionBump is added to the revision of the snapshot, and all before that is
	// marked as compacted. Clients that saw revisions which the snapshot does not have
	// are then told to read everything anew, instead of other things under the same
	// revisions. If zero, DefaultRevisionBump.
	RevisionBump uint64

	// Drop, if not nil, reports whether a key with this value is left out of the restored
	// data, as if it had been deleted after the snapshot. It is called for every
	// revision of a key in order, and its last answer counts. It must not keep or change
	// its arguments. Dropped, if not nil, is then called for each key that was left out.
	Drop    func(key, value []byte) bool
	Dropped func(key []byte)

	// Confirm, if not nil, is called when the snapshot has been found whole and before
	// the member's data are put in place, which does not happen if it returns an
	// error.
	Confirm func() error

	// Logger receives what etcd says. If nil, nothing is logged.
	Logger *zap.Logger
}

// Validate reports every problem of c in one error that names the fields.
func (c RestoreConfig) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, fieldpath.New("etcd", "RestoreConfig.Dir", "required: name the data directory to make"))
	}
	if (c.Name == "") != (c.PeerURL == "") {
		errs = append(errs, fieldpath.New("etcd", "", "%s and %s: one is set without the other: both are of a member of a cluster", fieldpath.Name("RestoreConfig.Name"), fieldpath.Name("RestoreConfig.PeerURL")))
	}
	if u, err := url.Parse(c.PeerURL); c.PeerURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Port() == "") {
		errs = append(errs, fieldpath.New("etcd", "RestoreConfig.PeerURL", `%q: must be a URL like "https://10.0.0.1:2380"`, c.PeerURL))
	}
	return errors.Join(errs...)
}

// restoring is the directory, in the data directory, that a restore works in. While it is
// there the data directory is neither old nor new.
const restoring = "restoring"

// RestoreSnapshot makes a data directory of a snapshot of "etcdctl snapshot save" or
// Member.Snapshot, which it checks from end to end: its SHA-256, and every page and
// revision of the database. All is on the disk when it returns. While it works it
// takes room for the database twice.
//
// If it fails nothing is left of it, and if the process is killed, a directory that
// Start refuses, in which RestoreSnapshot can be called again. It returns ErrCorrupt,
// ErrInUse, ErrNoSpace and ErrNewerVersion, wrapped, and ErrHasData for a directory with
// a member's data.
func RestoreSnapshot(ctx context.Context, cfg RestoreConfig, r io.Reader) (err error) {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return restoreError(err)
	}
	if cfg.Name == "" {
		cfg.Name, cfg.PeerURL = memberaddr.StandaloneName, memberaddr.Standalone.String()
	}
	if cfg.RevisionBump == 0 {
		cfg.RevisionBump = DefaultRevisionBump
	}
	f, err := memberdir.Open(cfg.Dir)
	if err != nil {
		return restoreError(err)
	}
	if !f.Fresh {
		f.Unlock()
		return restoreError(fmt.Errorf("%s: %w: name an empty one", cfg.Dir, ErrHasData))
	}
	if err := limits.CheckRestore(f.Dir); err != nil {
		f.Undo()
		return restoreError(err)
	}
	work := filepath.Join(cfg.Dir, restoring)
	defer func() {
		if err != nil {
			_ = os.RemoveAll(work)
			f.Undo()
			err = restoreError(err)
		} else {
			f.Unlock()
		}
	}()
	// What a process left that was killed.
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := os.Mkdir(work, fileutil.PrivateDirMode); err != nil {
		return err
	}
	// It keeps Start away, also after a power cut.
	if err := files.SyncDir(cfg.Dir); err != nil {
		return err
	}
	source, err := receive(ctx, work, r)
	if err != nil {
		return err
	}
	if cfg.Drop != nil {
		if err := drop(ctx, cfg, source); err != nil {
			return err
		}
	}
	data := filepath.Join(work, "data")
	if err := rebuild(ctx, cfg, source, data); err != nil {
		return err
	}
	if cfg.Confirm != nil {
		if err := cfg.Confirm(); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return install(data, cfg.Dir, work)
}

func restoreError(err error) error { return fmt.Errorf("etcd: restore: %w", err) }

// receive stores the snapshot below work, and checks it.
func receive(ctx context.Context, work string, r io.Reader) (string, error) {
	dir := filepath.Join(work, "source")
	path := datadir.ToBackendFileName(dir)
	if err := os.MkdirAll(filepath.Dir(path), fileutil.PrivateDirMode); err != nil {
		return "", err
	}
	if err := writeSnapshot(path, &contextReader{ctx, r}); err != nil {
		return "", err
	}
	// A containment of its own: damage found here is no failed member.
	if _, err := dbcheck.Check(ctx, contain.New(), dir, true); err != nil {
		return "", damaged(err)
	}
	return path, nil
}

// rebuild makes a data directory of the snapshot at source.
func rebuild(ctx context.Context, cfg RestoreConfig, source, data string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	// Both segments of a new log, and the database once more; or, when what has been
	// received is gone, what a member needs to start and accept writes.
	need := 2*wal.SegmentSizeBytes + diskguard.RestoreNeeds(cfg.Dir, info.Size())
	if free, ok := diskspace.Free(cfg.Dir); ok && free < need {
		return fmt.Errorf("%s: %w: %d bytes are free, %d more are needed", cfg.Dir, ErrNoSpace, free, need)
	}
	c := contain.New()
	lg := c.Logger(cfg.Logger)
	err = c.Run(func() error {
		return snapshot.NewV3(lg).Restore(snapshot.RestoreConfig{
			SnapshotPath:   source,
			Name:           cfg.Name,
			PeerURLs:       []string{cfg.PeerURL},
			InitialCluster: cfg.Name + "=" + cfg.PeerURL,
			// Or members that were of the cluster before would believe that they still are.
			InitialClusterToken: "restored-" + rand.Text(),
			OutputDataDir:       data,
			SkipHashCheck:       true, // it has been checked
			RevisionBump:        cfg.RevisionBump,
			MarkCompacted:       true,
		})
	})
	if err != nil {
		return damaged(err)
	}
	_, err = preflight.Check(ctx, contain.New(), data, true, zap.NewNop())
	return damaged(err)
}

// install moves the data directory to where it belongs, for good.
func install(data, dir, work string) error {
	if err := files.SyncTree(data); err != nil {
		return err
	}
	if err := os.Rename(datadir.ToMemberDir(data), datadir.ToMemberDir(dir)); err != nil {
		return err
	}
	if err := files.SyncDir(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	return files.SyncDir(dir)
}

// CheckRestored returns ErrCorrupt for a data directory in which a restore was killed
// before its data were in place. Start looks for itself; it is for callers that do
// other things before.
func CheckRestored(dir string) error {
	if !fileutil.Exist(filepath.Join(dir, restoring)) || fileutil.Exist(datadir.ToMemberDir(dir)) {
		return nil
	}
	return fieldpath.New("etcd", "Config.Dir", "%s: %w: a restore into it did not end: restore again, or delete %q in it to begin with nothing", dir, ErrCorrupt, restoring)
}

// checkRestored is CheckRestored that deletes what a restore left which was killed
// after its data were in place.
func checkRestored(f *memberdir.Directory) error {
	if err := CheckRestored(f.Dir); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(f.Dir, restoring)); err != nil {
		return errdefs.Dir(f.Dir, err)
	}
	return nil
}
