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

// Check reads a data directory the way etcd is about to, so that what would
// end the process, or wait for ever, becomes an error while there is still
// nothing to clean up. The caller holds the directory's lock.
//
// Everything is read once more than etcd needs, but from the page cache the
// second time; BenchmarkRestart tells what it costs. standalone tells that the member has
// no others.
//
// It returns what etcd is going to replay.
func Check(ctx context.Context, c *contain.Containment, dir string, standalone bool, lg *zap.Logger) (_ walcheck.Replay, err error) {
	haveWAL := wal.Exist(datadir.ToWALDir(dir))
	applied, err := dbcheck.Check(ctx, c, dir, haveWAL)
	if err != nil || !haveWAL {
		return walcheck.Replay{}, err
	}
	return walcheck.Check(c, dir, applied, standalone, lg)
}
