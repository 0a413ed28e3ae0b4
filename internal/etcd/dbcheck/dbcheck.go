// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package dbcheck reads the database of a data directory from end to end before etcd
// opens it, so that damage, a newer version or another member's data becomes an error of
// the start instead of a panic.
package dbcheck

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/coreos/go-semver/semver"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Check reads the database of a data directory and returns the index of the last raft
// entry that is applied to it.
func Check(ctx context.Context, c *contain.Containment, dir string, haveWAL bool) (applied uint64, err error) {
	path := datadir.ToBackendFileName(dir)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && haveWAL:
		return 0, errdefs.Corrupt(path, errors.New("the file is missing, but there is a write-ahead log"))
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil // a new directory
	case err != nil:
		return 0, errdefs.Dir(dir, err)
	case info.Size() == 0 && haveWAL:
		return 0, errdefs.Corrupt(path, errors.New("the file is empty"))
	case info.Size() == 0:
		return 0, nil // killed in its first start, before anything was stored
	}

	// If Open panics, only the file can be closed.
	var file *os.File
	var db *bbolt.DB
	defer func() {
		if db != nil {
			_ = db.Close()
		} else if file != nil {
			_ = file.Close()
		}
	}()
	err = c.Run(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			ReadOnly: true,
			Timeout:  time.Nanosecond, // one attempt for the lock
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
				return fmt.Errorf("it is the database of another program: it has a bucket %q, and none of etcd", name)
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
	if err != nil {
		return 0, openError(ctx, dir, path, err)
	}
	if applied > 0 && !haveWAL {
		return 0, errdefs.Corrupt(datadir.ToWALDir(dir), errors.New("the write-ahead log is missing, but the database has data"))
	}
	return applied, nil
}

// openError returns the error of a start for an error of reading the database at path.
func openError(ctx context.Context, dir, path string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fieldpath.New("etcd", "Config.Dir", "%s: %w: another etcd has %s open: stop it, or name another directory", dir, errdefs.ErrInUse, path)
	case ctx.Err() != nil:
		return err
	case errors.Is(err, errdefs.ErrNewerVersion), errors.Is(err, fs.ErrPermission):
		return fieldpath.New("etcd", "Config.Dir", "%s: %w", path, err)
	default:
		return errdefs.Corrupt(path, err)
	}
}

// checkVersion refuses versions for which etcd's MustDetectDowngrade would end the
// process. It compares major and minor, as etcd does.
func checkVersion(tx *bbolt.Tx) error {
	for _, at := range []struct{ bucket, key []byte }{
		{schema.Cluster.Name(), schema.ClusterClusterVersionKeyName},
		{schema.Meta.Name(), schema.MetaStorageVersionName},
	} {
		value := valueAt(tx, at.bucket, at.key)
		if value == nil {
			continue
		}
		if err := CheckNotNewer(string(at.key), string(value)); err != nil {
			return err
		}
	}
	return nil
}

// CheckNotNewer returns ErrNewerVersion if value, the version with that name in the data
// directory, is newer than this etcd.
func CheckNotNewer(name, value string) error {
	ours := semver.Must(semver.NewVersion(version.Version))
	theirs, err := semver.NewVersion(value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if theirs.Major > ours.Major || theirs.Major == ours.Major && theirs.Minor > ours.Minor {
		return fmt.Errorf("%w: %s is %s, this is etcd %s: use the newer version, or restore a snapshot or backup from before the upgrade",
			errdefs.ErrNewerVersion, name, theirs, ours)
	}
	return nil
}

// checkRevisions reads every revision, as etcd does when it rebuilds its index, in a
// goroutine of its own that panics.
func checkRevisions(ctx context.Context, tx *bbolt.Tx) error {
	b := tx.Bucket(schema.Key.Name())
	if b == nil {
		return nil
	}
	n := 0
	return b.ForEach(func(key, value []byte) error {
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return errdefs.Start(context.Cause(ctx))
		}
		if len(key) < 17 || len(key) > 18 || key[8] != '_' {
			return fmt.Errorf("%x is not a revision", key)
		}
		if err := checkMessage(value); err != nil {
			return fmt.Errorf("revision %x: %w", key, err)
		}
		return nil
	})
}

// checkMessage returns an error if proto.Unmarshal would for a message of numbers and
// bytes like mvccpb.KeyValue. It is several times as fast.
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
