// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/controlplane/archive"
	"github.com/kubembed/kubembed/internal/dirlock"
	etcdrestore "github.com/kubembed/kubembed/internal/etcd/restore"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/logging"
	"github.com/kubembed/kubembed/internal/logqueue"
	"github.com/kubembed/kubembed/pkg/etcd"
	"github.com/kubembed/kubembed/pkg/pki"
)

// RestoreConfig configures a restore. Its zero value is for a standalone member.
type RestoreConfig struct {
	// RevisionBump is added to the snapshot's resource version. It must be larger than
	// the number of writes between the snapshot and the restore. If zero,
	// etcd.DefaultRevisionBump, 1,000,000,000.
	RevisionBump uint64

	// Name and PeerAddr are the ones in Config.Etcd of a member of a cluster. The cluster
	// is a new one with this member only: start it first, with only itself in
	// InitialCluster, then let the others join with empty directories. If empty, the
	// member is standalone.
	Name, PeerAddr string

	// KeepJoinKubeconfigs keeps the files of Server.JoinKubeconfig valid that were valid
	// at the time of the snapshot and have not expired, even if they were revoked later.
	// If false, Restore invalidates all of them, and all other bootstrap tokens.
	KeepJoinKubeconfigs bool

	// Key is the Config.SnapshotKey of the control plane that took the snapshot. With it
	// Restore accepts only a complete snapshot that was made with the key. It returns
	// ErrNotAuthentic for any other, before it opens the database. It does not detect
	// that an authentic snapshot is not the newest: check its name, or the time in it. If
	// nil, Restore verifies only the checksums, which detect accidental changes but no
	// attack. At least 32 bytes.
	Key []byte

	// Logger receives etcd's log, and a warning with the invalidated join files. If
	// nil, nothing is logged.
	Logger *zap.Logger
}

// Validate returns one error with all invalid fields and their names.
func (c RestoreConfig) Validate() error {
	var errs field.ErrorList
	if (c.Name == "") != (c.PeerAddr == "") {
		errs = append(errs, fieldpath.Detail(field.Required(field.NewPath("Name"), ""), "%s and %s must be set together, for a member of a cluster", fieldpath.Name("Name"), fieldpath.Name("PeerAddr")))
	}
	if c.PeerAddr != "" {
		if address, err := netip.ParseAddrPort(c.PeerAddr); err != nil || address.Port() == 0 || address.Addr().Unmap().IsUnspecified() {
			errs = append(errs, field.Invalid(field.NewPath("PeerAddr"), c.PeerAddr, `must be an IP address and a port, like "10.0.0.1:2380"`))
		}
	}
	errs = append(errs, validateSnapshotKey(field.NewPath("Key"), c.Key)...)
	if len(errs) > 0 {
		return fmt.Errorf("controlplane: invalid RestoreConfig: %w", errs.ToAggregate())
	}
	return nil
}

// Restore makes dir a DataDir with the content of a snapshot of Server.Snapshot or
// Config.Snapshots. It also accepts an etcd.db of "etcdctl snapshot save", which has no
// CAs and keys: the next start uses Config.PKI, those in dir, or new ones. Restore reads
// r from its present position: open the Path of a SnapshotFile, and rewind a file that
// was written. Start with the Encryption, Etcd.Prefix, ServiceCIDR and
// Network.SecondaryServiceCIDR of the snapshot.
//
// dir must be missing or empty, or contain only the directory pki of the same cluster.
// Restore checks the whole snapshot before it writes the result. If it fails, nothing is
// left. If the process is killed, Start refuses the directory, and Restore can be called
// again. Everything is synchronized to the disk when it returns. It temporarily needs
// space for two databases.
//
// No client sees an older state as a newer one. Resource versions continue above all
// earlier ones (see RestoreConfig.RevisionBump). Clients that resume from an older
// resourceVersion get 410 Gone and must relist. They see objects that are not in the
// snapshot as deleted.
//
// A restore undoes all changes since the snapshot, including revocations:
//
//   - Join files that were revoked later would be valid again. Restore therefore deletes
//     all bootstrap tokens, and the unsigned certificate requests of their holders (all
//     requests, if they are encrypted). Joined workers keep their certificates. Others
//     need a new file of Server.JoinKubeconfig. See RestoreConfig.KeepJoinKubeconfigs.
//   - Node keys and kubeconfigs that were revoked later are valid again: revoke them
//     again.
//   - RBAC roles and bindings, ServiceAccounts and Secrets that were deleted or reduced
//     later are back, and so are the tokens that depend on them. Delete them again before
//     clients can connect, for example while BindAddress is a loopback address.
//
// These errors are for errors.Is:
//
//   - etcd.ErrCorrupt, for a truncated or changed snapshot;
//   - ErrNotAuthentic, for one that RestoreConfig.Key does not authenticate;
//   - apiserver.ErrVersionSkew, for one of a release that this one cannot follow;
//   - etcd.ErrHasData, etcd.ErrInUse, etcd.ErrNoSpace and etcd.ErrNewerVersion;
//   - the cause of ctx when it ends.
func Restore(ctx context.Context, dir string, r io.Reader, cfg RestoreConfig) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if dir == "" {
		return errors.New("controlplane: restore: dir is empty: name a directory")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("controlplane: restore: %w", err)
	}
	if cfg.Logger != nil {
		logger, closeLog := logqueue.Ensure(cfg.Logger, nil)
		cfg.Logger = logger
		defer func() { _ = closeLog() }() // a Logger that blocks does not fail the restore
	}
	from := offset(r)
	if err := restoreLocked(ctx, dir, bufio.NewReaderSize(r, 1<<16), cfg); err != nil {
		err = fieldpath.Rename(err, restoreFields.Rename)
		if damaged := archive.Truncated(err) || errors.Is(err, etcd.ErrCorrupt); damaged && from > 0 {
			// The snapshot may be intact.
			err = fmt.Errorf("the reader was not at the beginning of a file but at offset %d: rewind it with Seek(0, io.SeekStart), or open the file again: %v", from, err) //nolint:errorlint // not ErrCorrupt
		} else if archive.Truncated(err) && !errors.Is(err, etcd.ErrCorrupt) {
			err = archive.Corrupt(err)
		}
		return fmt.Errorf("controlplane: restore: %w", err)
	}
	return nil
}

// offset returns the present position in a file, or zero for other readers.
func offset(r io.Reader) int64 {
	if seeker, ok := r.(io.Seeker); ok {
		if at, err := seeker.Seek(0, io.SeekCurrent); err == nil {
			return at
		}
	}
	return 0
}

// restoreLocked locks dir during the restore, and removes its files if the
// restore fails.
func restoreLocked(ctx context.Context, dir string, r *bufio.Reader, cfg RestoreConfig) (err error) {
	_, missing := os.Lstat(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := dirlock.Take(dir)
	if errors.Is(err, dirlock.ErrLocked) {
		return fmt.Errorf("%s: %w by %s: stop it, or name another directory", dir, etcd.ErrInUse, dirlock.Owner(dir, "another control plane"))
	}
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			lock.Unlock()
			return
		}
		lock.Remove()
		if errors.Is(missing, os.ErrNotExist) {
			_ = os.Remove(dir) // only if it is empty
		}
	}()
	return restore(ctx, dir, r, cfg)
}

func restore(ctx context.Context, dir string, r *bufio.Reader, cfg RestoreConfig) (err error) {
	c := etcdrestore.Config{Dir: filepath.Join(dir, "etcd"), Name: cfg.Name, RevisionBump: cfg.RevisionBump}
	if cfg.PeerAddr != "" {
		c.PeerURL = "https://" + cfg.PeerAddr
	}
	if cfg.Logger != nil {
		c.Logger = logging.Lower(cfg.Logger.Named("etcd"))
	}
	head, err := r.Peek(512)
	var gone invalidated
	gone.apply(&c, cfg.KeepJoinKubeconfigs)
	defer func() {
		if err == nil {
			gone.log(cfg.Logger)
		}
	}()
	switch {
	case isDatabase(head) && len(cfg.Key) > 0:
		return archive.NotAuthentic(archive.ErrNoMAC)
	case isDatabase(head):
		return restoreDatabase(ctx, dir, c, r)
	case archive.IsArchive(head):
		return restoreArchive(ctx, dir, c, archive.NewReader(r, cfg.Key))
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case err != nil:
		err = fmt.Errorf("it has %d bytes", len(head))
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		err = errors.New("it is compressed: decompress it with gunzip")
	default:
		err = errors.New("it was made neither by Server.Snapshot nor by etcdctl")
	}
	err = archive.Corrupt(err)
	if len(cfg.Key) > 0 {
		err = archive.NotAuthentic(err)
	}
	return err
}

// isDatabase checks for the magic number of bbolt's first page.
func isDatabase(head []byte) bool {
	return len(head) >= 20 && binary.NativeEndian.Uint32(head[16:]) == 0xED0CDAED
}

// restoreDatabase restores a database without keys, and records that.
func restoreDatabase(ctx context.Context, dir string, c etcdrestore.Config, r io.Reader) error {
	return recorded(dir, func(before *record) error {
		restoring, err := etcdrestore.Begin(c)
		if err != nil {
			return err
		}
		defer restoring.Abort()
		if err := restoring.Receive(ctx, r); err != nil {
			return err
		}
		if err := restoring.Prepare(ctx); err != nil {
			return err
		}
		after := record{Format: recordFormat}
		if before != nil {
			after = *before
		}
		after.Restored, after.Kubernetes = true, "" // A bare etcd snapshot does not name its release.
		if err := after.write(dir); err != nil {
			return err
		}
		return restoring.Commit(ctx)
	})
}

// recorded calls f with the record of dir, and restores the record if f fails.
func recorded(dir string, f func(before *record) error) error {
	before, err := readRecord(dir)
	if err != nil {
		return err
	}
	if err = f(before); err == nil {
		return nil
	}
	if before != nil {
		_ = before.write(dir)
	} else {
		_ = os.Remove(filepath.Join(dir, recordFile))
	}
	return err
}

// restoreArchive restores the keys after it has verified the whole snapshot, and the
// objects after them. A directory with objects counts as one with data.
func restoreArchive(ctx context.Context, dir string, c etcdrestore.Config, a *archive.Reader) (err error) {
	defer func() { err = a.Vouched(err) }()
	about, err := a.About()
	if err != nil {
		return err
	}
	if err := checkSnapshotRelease(about, c.Name != ""); err != nil {
		return err
	}
	database, err := a.Database()
	if err != nil {
		return err
	}
	keys := filepath.Join(dir, "pki")
	_, missing := os.Lstat(keys)
	err = recorded(dir, func(*record) error { return restoreEntries(ctx, dir, c, a, about, database) })
	if err != nil && errors.Is(missing, os.ErrNotExist) {
		_ = os.RemoveAll(keys)
	}
	if archive.Truncated(err) && !errors.Is(err, etcd.ErrCorrupt) {
		err = archive.Corrupt(err)
	}
	return err
}

// restoreEntries restores the database and the keys. The archive is read to its end, and
// found whole, before the database is opened.
func restoreEntries(ctx context.Context, dir string, c etcdrestore.Config, a *archive.Reader, about archive.About, database io.Reader) error {
	restoring, err := etcdrestore.Begin(c)
	if err != nil {
		return err
	}
	defer restoring.Abort()
	if err := restoring.Receive(ctx, database); err != nil {
		return err
	}
	bundle, err := a.Rest()
	if err != nil {
		return err
	}
	if err := restoring.Prepare(ctx); err != nil {
		return err
	}
	keys := filepath.Join(dir, "pki")
	p, err := pki.Open(pki.Config{Dir: keys, Import: bundle})
	if errors.Is(err, pki.ErrOtherCA) {
		return fmt.Errorf("%s is of another cluster than the snapshot: delete it, or name an empty directory: %w", keys, err)
	}
	if err != nil {
		return err
	}
	// The next start adds where etcd is, when it has started it.
	if err := (record{Format: recordFormat, PKI: p.Fingerprints(), Prefix: about.Prefix, Kubernetes: about.Kubernetes}).write(dir); err != nil {
		return err
	}
	return restoring.Commit(ctx)
}
