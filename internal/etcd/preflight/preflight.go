// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package preflight reads a data directory the way that etcd is about to.
package preflight

import (
	"context"

	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/etcd/contain"
	"github.com/kubembed/kubembed/internal/etcd/dbcheck"
	"github.com/kubembed/kubembed/internal/etcd/walcheck"
)

// Check reads a data directory the way that etcd is about to and returns the entries that
// etcd is going to replay. Data that would end the process, or make etcd wait forever,
// becomes an error while there is nothing to clean up. The caller holds the directory's
// lock. standalone says that the member belongs to no cluster.
//
// Everything is read once more than etcd needs, but the second time from the page cache;
// BenchmarkRestart measures the cost.
func Check(ctx context.Context, c *contain.Containment, dir string, standalone bool, lg *zap.Logger) (_ walcheck.Replay, err error) {
	haveWAL := wal.Exist(datadir.ToWALDir(dir))
	applied, err := dbcheck.Check(ctx, c, dir, haveWAL)
	if err != nil || !haveWAL {
		return walcheck.Replay{}, err
	}
	return walcheck.Check(c, dir, applied, standalone, lg)
}
