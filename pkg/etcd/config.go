// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"errors"
	"net/url"
	"strings"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/etcd/walcheck"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// DefaultQuotaBytes is the quota when Config.QuotaBytes is zero: 8 GiB, the most that
// etcd recommends. etcd's own default of 2 GiB is too small for busy Kubernetes clusters,
// and only used space is taken.
const DefaultQuotaBytes int64 = 8 << 30

// MaxTxnOps is the largest number of operations in one transaction. It is above etcd's
// default of 128, so that all initial objects of a control plane fit in one transaction.
const MaxTxnOps = 1024

// The raft clock. A standalone member sends no heartbeats, and Start does not wait for an
// election timeout (see Member.elect), so a short tick would only cost CPU. Only a start
// that may not campaign at once has a shorter tick.
//
// The election timeout, five ticks, also sets the shortest lease that etcd
// grants: ceil(1.5 × 2.5 s) = 4 s. Kubernetes asks for 15 s or more.
const (
	tickMs        = 500
	tickElectMs   = 100
	electionTicks = 5
)

// The part of the raft log that stays in memory. etcd keeps 5,000 applied entries for
// followers that lag behind. A standalone member has none, and every entry pins a written
// object on the heap. The entries that a start replays stay too, see Member.elect, so
// snapshots are taken more often than etcd's 10,000 entries. A snapshot costs about as
// much as a few writes.
const (
	catchUpEntries = 100
	snapshotCount  = 1000
)

// Config configures a member. Only Dir is required.
type Config struct {
	// Dir is the data directory. All data of the member is below it. It is created with
	// mode 0700 if it is missing. A directory belongs to one member at a time; see
	// ErrInUse.
	Dir string

	// Ephemeral skips every fsync. The data is worthless after Close or a crash. The
	// caller removes Dir. If false, an acknowledged write survives a power cut.
	Ephemeral bool

	// QuotaBytes limits the size of the database file. At the limit the member refuses
	// writes with rpctypes.ErrNoSpace. If zero, DefaultQuotaBytes.
	QuotaBytes int64

	// MaxRequestBytes is the size of the largest request, like etcd's
	// --max-request-bytes. etcd recommends 10 MiB at most. All members of a cluster
	// should have the same. If zero, 1.5 MiB, etcd's default, so that objects that are
	// too large get upstream's error.
	MaxRequestBytes int64

	// Cluster makes the member part of a cluster. If nil, the member is standalone and
	// listens nowhere.
	Cluster *Cluster

	// Logger receives etcd's log. Its fatal and panic hooks are replaced. etcd's own
	// goroutines wait for it, so it must not block (package controlplane puts a queue in
	// front). If nil, nothing is logged.
	Logger *zap.Logger
}

// Validate reports every problem of c in one error that names the fields.
func (c Config) Validate() error {
	var errs []error
	switch {
	case c.Dir == "":
		errs = append(errs, fieldpath.New("etcd", "Config.Dir", "required: name the data directory"))
	case strings.ContainsRune(c.Dir, 0):
		errs = append(errs, fieldpath.New("etcd", "Config.Dir", "%q holds a NUL byte", c.Dir))
	}
	if c.QuotaBytes < 0 {
		errs = append(errs, fieldpath.New("etcd", "Config.QuotaBytes", "%d is negative: zero means %d", c.QuotaBytes, DefaultQuotaBytes))
	}
	if c.MaxRequestBytes < 0 {
		errs = append(errs, fieldpath.New("etcd", "Config.MaxRequestBytes", "%d is negative: zero means %d", c.MaxRequestBytes, int64(embed.DefaultMaxRequestBytes)))
	}
	if c.Cluster != nil {
		at := field.NewPath("Config", "Cluster")
		if c.Ephemeral {
			errs = append(errs, fieldpath.New("etcd", "Config.Ephemeral", "a member of a cluster must keep acknowledged writes: leave out Ephemeral or Cluster"))
		}
		for _, err := range append(c.Cluster.config().Validate(at), c.Cluster.config().ValidateFiles(at)...) {
			errs = append(errs, &fieldpath.Error{Package: "etcd", Err: err})
		}
	}
	return errors.Join(errs...)
}

// quota returns QuotaBytes, or the default.
func (c Config) quota() int64 {
	if c.QuotaBytes == 0 {
		return DefaultQuotaBytes
	}
	return c.QuotaBytes
}

// embedConfig returns etcd's configuration. logger is the contained one.
func (c Config) embedConfig(logger *zap.Logger, r walcheck.Replay) *embed.Config {
	ec := embed.NewConfig()
	ec.Name = memberaddr.StandaloneName
	ec.Dir = c.Dir
	ec.UnsafeNoFsync = c.Ephemeral
	ec.QuotaBackendBytes = c.quota()

	// No listener of any kind.
	ec.ListenClientUrls, ec.ListenPeerUrls = nil, nil
	ec.AdvertiseClientUrls, ec.AdvertisePeerUrls = []url.URL{memberaddr.Standalone}, []url.URL{memberaddr.Standalone}
	ec.InitialCluster = ec.InitialClusterFromName(ec.Name)

	ec.TickMs = tickMs
	if !r.CanCampaign() {
		ec.TickMs = tickElectMs
	}
	ec.ElectionMs = electionTicks * ec.TickMs
	ec.SnapshotCount = snapshotCount
	ec.SnapshotCatchUpEntries = catchUpEntries + r.Entries
	ec.MaxTxnOps = MaxTxnOps
	// NewConfig leaves it at zero, which logs every request as slow.
	ec.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration

	// The builder only sets the config's logger. embed's SetupGlobalLoggers,
	// which would replace those of gRPC and zap, is never called.
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)

	if c.MaxRequestBytes > 0 {
		ec.MaxRequestBytes = uint(c.MaxRequestBytes)
	}

	// Left at etcd's defaults on purpose: AutoCompaction (off: the API server compacts),
	// InitialCorruptCheck (off: see package consistency).
	return ec
}
