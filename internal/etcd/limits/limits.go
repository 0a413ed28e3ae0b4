// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package limits checks the limits of the process before etcd starts. An etcd that runs
// into one of them gives up halfway and leaves goroutines behind.
package limits

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/storage"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/kubembed/kubembed/internal/connlimit"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

const (
	// spareAddressSpace is the address space that a start needs beside the database. More
	// objects need more; a Go program without memory ends by itself.
	spareAddressSpace = 256 << 20
	// spareLog is the excess length of a segment of the log over etcd's target.
	spareLog = 16 << 20
)

// processLimits are the limits of this process. Zero is no limit.
type processLimits struct {
	fileSize     int64 // of one file
	addressSpace int64
	addressUsed  int64
}

// Check returns an error if a member cannot run within the limits of the process. dir is
// its data directory, which must exist.
func Check(dir string, quota int64) error {
	var size int64
	if info, err := os.Stat(datadir.ToBackendFileName(dir)); err == nil {
		size = info.Size()
	}
	return checkProcess(dir, quota, MappedBytes(quota, size))
}

// CheckRestore is Check for a restore, in which etcd has no quota.
func CheckRestore(dir string) error {
	return checkProcess(dir, 0, MappedBytes(0, 0))
}

func checkProcess(dir string, quota, mapped int64) error {
	if err := connlimit.Check(); err != nil {
		return fieldpath.New("etcd", "", "%w", err)
	}
	if err := readLimits().check(quota, mapped); err != nil {
		return err
	}
	if mapped == 0 {
		return nil
	}
	if err := tryMap(dir, mapped); err != nil {
		return fieldpath.New("etcd", "Config.Dir", "%s: cannot map %d bytes of address space for the database: %w: raise the limits of memory mappings (ulimit -v, vm.max_map_count), or name a directory on a disk whose files can be mapped", dir, mapped, err)
	}
	return nil
}

// check compares the limits with the needs of a member: mapped bytes of address space
// for its database, which grows to about quota.
func (l processLimits) check(quota, mapped int64) error {
	if largest := max(quota+quota/10, wal.SegmentSizeBytes+spareLog); l.fileSize > 0 && l.fileSize < largest {
		cure := errors.New("raise it (ulimit -f, LimitFSIZE=)")
		if quota > 0 && l.fileSize >= wal.SegmentSizeBytes+spareLog {
			cure = fieldpath.Errorf("%w, or lower %s to %d", cure, fieldpath.Name("Config.QuotaBytes"), l.fileSize/11*10)
		}
		return fieldpath.New("etcd", "", "the limit of the size of a file (RLIMIT_FSIZE) is %d bytes, and etcd needs files of %d: %w", l.fileSize, largest, cure)
	}
	if need := l.addressUsed + mapped + spareAddressSpace; l.addressSpace > 0 && mapped > 0 && l.addressSpace < need {
		cure := fmt.Errorf("raise it to %d or more (ulimit -v, LimitAS=)", need)
		if quota > 0 {
			cure = fieldpath.Errorf("%w, or lower %s, which takes a tenth more of address space", cure, fieldpath.Name("Config.QuotaBytes"))
		}
		return fieldpath.New("etcd", "", "the limit of address space (RLIMIT_AS) is %d bytes, %d are in use, and etcd maps its database into %d more: %w", l.addressSpace, l.addressUsed, mapped, cure)
	}
	return nil
}

// MappedBytes returns the address space that etcd maps for a database of size bytes: a
// tenth more than its quota, in bbolt's steps. It is zero on systems where etcd maps only
// the size of the database.
func MappedBytes(quota, size int64) int64 {
	if !mapsAhead {
		return 0
	}
	mapped := int64(backend.InitialMmapSize)
	if quota > 0 && quota != storage.DefaultQuotaBytes {
		mapped = quota + quota/10
	}
	mapped = max(mapped, size)
	for step := int64(32 << 10); step <= 1<<30; step *= 2 {
		if mapped <= step {
			return step
		}
	}
	const step = 1 << 30
	if mapped > math.MaxInt64-step {
		return mapped
	}
	return (mapped + step - 1) / step * step
}

// tryMap maps a file in dir as etcd is going to, and unmaps it.
func tryMap(dir string, bytes int64) error {
	file, err := os.OpenFile(filepath.Join(dir, "mapped"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if os.IsExist(err) {
		// A process was killed here.
		if err = os.Remove(filepath.Join(dir, "mapped")); err == nil {
			return tryMap(dir, bytes)
		}
	}
	if err != nil {
		return err
	}
	defer func() {
		_ = file.Close()
		_ = os.Remove(file.Name())
	}()
	return mapOnce(file, bytes)
}
