// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package restore makes a data directory from a snapshot in phases, between which the
// caller can do work of its own: Begin, Receive, Prepare, and then Commit or Abort.
package restore

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
	"github.com/kubembed/kubembed/internal/etcd/snapshotio"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/files"
)

// DefaultRevisionBump is the RevisionBump when Config has none.
const DefaultRevisionBump uint64 = 1_000_000_000

// Config is etcd.RestoreConfig, which documents the fields.
type Config struct {
	Dir           string
	Name, PeerURL string
	RevisionBump  uint64
	Drop          func(key, value []byte) bool
	Dropped       func(key []byte)
	Logger        *zap.Logger
}

// Validate reports every problem of c in one error that names the fields.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, fieldpath.New("etcd", "RestoreConfig.Dir", "required: name the data directory to make"))
	}
	if (c.Name == "") != (c.PeerURL == "") {
		errs = append(errs, fieldpath.New("etcd", "", "%s and %s: one is set without the other: both are for a member of a cluster", fieldpath.Name("RestoreConfig.Name"), fieldpath.Name("RestoreConfig.PeerURL")))
	}
	if u, err := url.Parse(c.PeerURL); c.PeerURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Port() == "") {
		errs = append(errs, fieldpath.New("etcd", "RestoreConfig.PeerURL", `%q: must be a URL like "https://10.0.0.1:2380"`, c.PeerURL))
	}
	return errors.Join(errs...)
}

// workDir is the directory below the data directory that a restore works in. While it
// exists, the restore is unfinished.
const workDir = "restoring"

// Restore is a restore in progress. It is for one goroutine.
type Restore struct {
	cfg       Config
	directory *memberdir.Directory
	work      string
	done      bool
}

// Begin locks the data directory and creates the directory that the restore works in. The
// caller must end the restore with Commit or Abort.
func Begin(cfg Config) (*Restore, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	var err error
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, restoreError(err)
	}
	if cfg.Name == "" {
		cfg.Name, cfg.PeerURL = memberaddr.StandaloneName, memberaddr.Standalone.String()
	}
	if cfg.RevisionBump == 0 {
		cfg.RevisionBump = DefaultRevisionBump
	}
	directory, err := memberdir.Open(cfg.Dir)
	if err != nil {
		return nil, restoreError(err)
	}
	if !directory.Fresh {
		directory.Unlock()
		return nil, restoreError(fmt.Errorf("%s: %w: name an empty one", cfg.Dir, errdefs.ErrHasData))
	}
	if err := limits.CheckRestore(cfg.Dir); err != nil {
		directory.Undo()
		return nil, restoreError(err)
	}
	r := &Restore{cfg: cfg, directory: directory, work: filepath.Join(cfg.Dir, workDir)}
	if err := r.makeWorkDir(); err != nil {
		r.Abort()
		return nil, restoreError(err)
	}
	return r, nil
}

func (r *Restore) makeWorkDir() error {
	// A process that was killed may have left one.
	if err := os.RemoveAll(r.work); err != nil {
		return err
	}
	if err := os.Mkdir(r.work, fileutil.PrivateDirMode); err != nil {
		return err
	}
	// The entry makes Start refuse the directory, also after a power cut.
	return files.SyncDir(r.cfg.Dir)
}

// source is the snapshot that Receive stores, where dbcheck expects a database.
func (r *Restore) source() string { return datadir.ToBackendFileName(r.sourceDir()) }

func (r *Restore) sourceDir() string { return filepath.Join(r.work, "source") }

// data is the data directory that Prepare makes.
func (r *Restore) data() string { return filepath.Join(r.work, "data") }

// Receive stores the snapshot.
func (r *Restore) Receive(ctx context.Context, snapshot io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(r.source()), fileutil.PrivateDirMode); err != nil {
		return restoreError(err)
	}
	if err := snapshotio.Receive(ctx, r.source(), snapshot); err != nil {
		return restoreError(err)
	}
	return nil
}

// Prepare checks the snapshot from end to end and makes the data directory from it, which
// Commit puts in place.
func (r *Restore) Prepare(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return restoreError(err)
	}
	return nil
}

func (r *Restore) prepare(ctx context.Context) error {
	if err := snapshotio.Verify(r.source()); err != nil {
		if errors.As(err, new(snapshotio.Damage)) {
			return damaged(err)
		}
		return err
	}
	// A containment of its own: damage found here is no failed member.
	if _, err := dbcheck.Check(ctx, contain.New(), r.sourceDir(), true); err != nil {
		return damaged(err)
	}
	if r.cfg.Drop != nil {
		if err := drop(ctx, r.cfg, r.source()); err != nil {
			return err
		}
	}
	return rebuild(ctx, r.cfg, r.source(), r.data())
}

// Commit puts the data directory in place. If it fails, or ctx has ended, it aborts the
// restore.
func (r *Restore) Commit(ctx context.Context) error {
	err := context.Cause(ctx)
	if err == nil {
		err = install(r.data(), r.cfg.Dir, r.work)
	}
	if err != nil {
		r.Abort()
		return restoreError(err)
	}
	r.done = true
	r.directory.Unlock()
	return nil
}

// Abort removes all files of the restore. It does nothing after Commit, and may be called
// again.
func (r *Restore) Abort() {
	if r.done {
		return
	}
	r.done = true
	_ = os.RemoveAll(r.work)
	r.directory.Undo()
}

func restoreError(err error) error { return fmt.Errorf("etcd: restore: %w", err) }

// rebuild makes a data directory from the snapshot at source.
func rebuild(ctx context.Context, cfg Config, source, data string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	// Both segments of a new log, and a second copy of the database; or, when the
	// received copy is gone, the space that a member needs to start and accept writes.
	need := 2*wal.SegmentSizeBytes + diskguard.RestoreNeeds(cfg.Dir, info.Size())
	if free, ok := diskspace.Free(cfg.Dir); ok && free < need {
		return fmt.Errorf("%s: %w: %d bytes are free, %d more are needed", cfg.Dir, errdefs.ErrNoSpace, free, need)
	}
	c := contain.New()
	lg := c.Logger(cfg.Logger)
	err = c.Run(func() error {
		return snapshot.NewV3(lg).Restore(snapshot.RestoreConfig{
			SnapshotPath:   source,
			Name:           cfg.Name,
			PeerURLs:       []string{cfg.PeerURL},
			InitialCluster: cfg.Name + "=" + cfg.PeerURL,
			// Otherwise members of the old cluster would take the new one for theirs.
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

// install moves the data directory to its place, and syncs it.
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
