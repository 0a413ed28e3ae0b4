package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"

	"github.com/kubembed/kubembed/internal/files"
)

// Snapshots says how often a control plane takes a snapshot of itself, in the
// form of Server.Snapshot. Where control planes share an etcd one of them does.
type Snapshots struct {
	// Dir is the folder for them, best on another disk. It is created with mode
	// 0700 if it is missing. Their names are kubembed-TIME.tar, with the time in UTC.
	// If empty, "snapshots" in DataDir; required without one.
	Dir string
	// Interval is the time between two of them, from the start on. One that fails is
	// logged, counted in the metric kubembed_snapshot_failures_total, and taken again
	// after a minute, or Interval if that is less. If zero, none are taken.
	Interval time.Duration
	// Keep is how many are kept; older ones are deleted. If zero, 5.
	Keep int
}

const (
	defaultKeep   = 5
	snapshotRetry = time.Minute
	// The names of finished snapshots sort by time.
	snapshotPrefix, snapshotSuffix = "kubembed-", ".tar"
	snapshotTime                   = "20060102T150405.000Z"
	unfinishedSuffix               = ".unfinished"
)

func (s Snapshots) validate(at *field.Path, dataDir string) (errs field.ErrorList) {
	if s.Interval < 0 {
		errs = append(errs, field.Invalid(at.Child("Interval"), s.Interval.String(), "must not be negative; zero takes none"))
	}
	if s.Keep < 0 {
		errs = append(errs, field.Invalid(at.Child("Keep"), s.Keep, "must not be negative; zero keeps 5"))
	}
	if s.Interval == 0 && (s.Dir != "" || s.Keep != 0) {
		errs = append(errs, field.Required(at.Child("Interval"), "Dir or Keep is set but no snapshot would be taken"))
	}
	if s.Interval > 0 && s.Dir == "" && dataDir == "" {
		errs = append(errs, field.Required(at.Child("Dir"), "the folder for snapshots, because there is no DataDir to keep them in"))
	}
	return errs
}

// schedule takes snapshots until ctx ends.
type schedule struct {
	config Snapshots
	take   func(context.Context, io.Writer) error
	// mine tells whether it is for this control plane to take them.
	mine   func() bool
	logger *zap.Logger
	clock  clock.Clock
	end    context.CancelFunc
	ended  chan struct{}
}

// startSnapshots begins the work, if there is any.
func (s *Server) startSnapshots() {
	if s.config.Snapshots.Interval == 0 {
		return
	}
	registerMetrics()
	c := s.config.Snapshots
	if c.Dir == "" {
		c.Dir = filepath.Join(s.dir, "snapshots")
	}
	if c.Keep == 0 {
		c.Keep = defaultKeep
	}
	ctx, end := context.WithCancel(context.Background())
	s.snapshots = &schedule{
		config: c, take: s.snapshot, mine: s.takesSnapshots,
		logger: s.config.Logger, clock: s.clock(), end: end, ended: make(chan struct{}),
	}
	go s.snapshots.run(ctx)
}

// takesSnapshots tells whether it is for this control plane to take them.
func (s *Server) takesSnapshots() bool { return s.elections.holds(snapshotLease) }

// stop ends the work and waits for it. It may be called again, and on nil.
func (s *schedule) stop() {
	if s != nil {
		s.end()
		<-s.ended
	}
}

func (s *schedule) run(ctx context.Context) {
	defer close(s.ended)
	timer := s.clock.NewTimer(s.config.Interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
		}
		next := s.config.Interval
		if s.mine() {
			if err := s.one(ctx); err != nil && ctx.Err() == nil {
				next = min(next, snapshotRetry)
				snapshotFailures.Inc()
				s.logger.Error("the snapshot is not taken; it will be tried again", zap.Duration("in", next), zap.Error(err))
			}
		}
		timer.Reset(next)
	}
}

// one takes a snapshot and deletes those that are too many.
func (s *schedule) one(ctx context.Context) (err error) {
	dir := s.config.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("Config.Snapshots.Dir: %w", err)
	}
	if err := s.tidy(); err != nil {
		return err
	}
	now := s.clock.Now()
	path := filepath.Join(dir, snapshotPrefix+now.UTC().Format(snapshotTime)+snapshotSuffix)
	file, err := os.OpenFile(path+unfinishedSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("Config.Snapshots.Dir: %w", err)
	}
	defer func() {
		if err != nil {
			_ = file.Close() // a second Close does no harm
			_ = os.Remove(file.Name())
		}
	}()
	if err := s.take(ctx, file); err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	if err := files.SyncDir(dir); err != nil {
		return err
	}
	lastSnapshot.Set(float64(now.Unix()))
	return s.retain()
}

// tidy deletes what a process that was killed had begun.
func (s *schedule) tidy() error {
	for _, path := range s.list(snapshotSuffix + unfinishedSuffix) {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// retain deletes all but the newest.
func (s *schedule) retain() error {
	all := s.list(snapshotSuffix)
	for _, path := range all[:max(0, len(all)-s.config.Keep)] {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("an old snapshot is not deleted: %w", err)
		}
	}
	return nil
}

// list returns our files, the oldest first. Those of others are left alone.
func (s *schedule) list(suffix string) (paths []string) {
	entries, _ := os.ReadDir(s.config.Dir)
	for _, entry := range entries {
		stamp, ours := strings.CutPrefix(entry.Name(), snapshotPrefix)
		stamp, ends := strings.CutSuffix(stamp, suffix)
		if _, err := time.Parse(snapshotTime, stamp); ours && ends && err == nil {
			paths = append(paths, filepath.Join(s.config.Dir, entry.Name()))
		}
	}
	slices.Sort(paths)
	return paths
}
