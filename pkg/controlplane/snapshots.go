package controlplane

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/kubembed/kubembed/internal/files"
	"github.com/kubembed/kubembed/internal/ownership"
)

// Snapshots says how often a control plane takes a snapshot of itself, in the
// form of Server.Snapshot. Where control planes share an etcd one of them does.
type Snapshots struct {
	// Dir is the directory for them, best on another disk. It is created with mode
	// 0700 if it is missing. Their names are kubembed-CLUSTER-NUMBER-TIME.tar: eight
	// digits of the UID of the namespace kube-system, a number that counts up, and the
	// time in UTC. Age goes by the number, so that a clock may be corrected. Control
	// planes of different clusters may share a directory. Names of earlier versions,
	// kubembed-TIME.tar, count as older than all others, and as every cluster's.
	// If empty, "snapshots" in DataDir; required without one.
	Dir string
	// Interval is the time between two of them, from the start on. One that fails is
	// logged, counted in the metric kubembed_snapshot_failures_total, and taken again
	// after a minute, or Interval if that is less. If zero, none are taken.
	Interval time.Duration
	// Keep is how many are kept; older ones are deleted. If zero, 5. Where the disk has
	// no room for so many, the oldest are deleted before the next is written, but never
	// the last. A snapshot never uses the room that etcd needs on the same disk: one for
	// which too little is left fails, with etcd.ErrNoSpace in the log.
	Keep int
	// Timeout bounds each of them, until it is on the disk. One that takes longer fails,
	// as on a disk that hangs, and while such a disk holds it no other is begun. If zero,
	// 30 seconds and one more for each 4 MiB of the database.
	Timeout time.Duration
}

const (
	defaultKeep   = 5
	snapshotRetry = time.Minute
	// The default of Timeout.
	snapshotTimeout = 30 * time.Second
	snapshotSpeed   = 4 << 20 // bytes in a second
	// snapshotGrace is how long a snapshot that is cut short may take to clean up.
	snapshotGrace = time.Second
	// snapshotStop is how long a stop waits for that.
	snapshotStop = 3 * time.Second
	// roomTick is how often old snapshots may have to make room for etcd.
	roomTick = time.Minute
)

func (s Snapshots) validate(at *field.Path, dataDir string) (errs field.ErrorList) {
	if s.Interval < 0 {
		errs = append(errs, field.Invalid(at.Child("Interval"), s.Interval.String(), "must not be negative; zero takes none"))
	}
	if s.Keep < 0 {
		errs = append(errs, field.Invalid(at.Child("Keep"), s.Keep, "must not be negative; zero keeps 5"))
	}
	if s.Timeout < 0 {
		errs = append(errs, field.Invalid(at.Child("Timeout"), s.Timeout.String(), "must not be negative; zero is a time for the size of the database"))
	}
	if s.Interval == 0 && (s.Dir != "" || s.Keep != 0 || s.Timeout != 0) {
		errs = append(errs, field.Required(at.Child("Interval"), "Dir, Keep or Timeout is set but no snapshot would be taken"))
	}
	if s.Interval > 0 && s.Dir == "" && dataDir == "" {
		errs = append(errs, field.Required(at.Child("Dir"), "the directory for snapshots, because there is no DataDir to keep them in"))
	}
	return errs
}

// schedule takes snapshots until it is cancelled.
type schedule struct {
	config Snapshots
	take   func(context.Context, io.Writer) error
	// cluster names the cluster, and size is that of its database.
	cluster func(context.Context) (string, error)
	size    func(context.Context) (int64, error)
	// mine reports whether it is for this control plane to take them.
	mine   func() bool
	room   *room
	logger *zap.Logger
	clock  clock.WithTicker
	cancel context.CancelFunc
	ended  chan struct{}

	stock atomic.Pointer[snapshotFiles] // as of the last look
	// task has the disk; it may never return. It is run's until ended is closed.
	task *task
}

// startSnapshots begins the work, if there is any.
func (s *Server) startSnapshots() {
	if s.config.Snapshots.Interval == 0 {
		return
	}
	registerMetrics()
	c := s.config.Snapshots
	c.Dir = s.snapshotDir()
	if c.Keep == 0 {
		c.Keep = defaultKeep
	}
	r := newRoom(c.Dir, filepath.Join(s.dir, "etcd"), nil)
	if s.member != nil {
		r.needed = s.member.SpaceNeeded
	}
	ctx, cancel := context.WithCancel(context.Background())
	schedule := &schedule{
		config: c, take: s.snapshot, cluster: s.clusterName, size: s.databaseSize, mine: s.takesSnapshots, room: r,
		logger: s.config.Logger, clock: s.clock(), cancel: cancel, ended: make(chan struct{}),
	}
	s.snapshots.Store(schedule)
	go schedule.run(ctx)
}

// snapshotDir is Config.Snapshots.Dir, or its default.
func (s *Server) snapshotDir() string {
	return cmp.Or(s.config.Snapshots.Dir, filepath.Join(s.dir, "snapshots"))
}

// takesSnapshots reports whether it is for this control plane to take them.
func (s *Server) takesSnapshots() bool { return s.elections.holds(snapshotLease) }

func (s *Server) databaseSize(ctx context.Context) (int64, error) {
	status, err := s.EtcdStatus(ctx)
	return status.SizeBytes, err
}

// clusterName is the same for all control planes of a cluster, and after a Restore.
func (s *Server) clusterName(ctx context.Context) (string, error) {
	client, err := kubernetes.NewForConfig(s.ClientConfig())
	if err != nil {
		return "", err
	}
	namespace, err := client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("namespace %s: %w", metav1.NamespaceSystem, err)
	}
	return shortName(string(namespace.UID)), nil
}

// shortUID is the first group of a UID.
var shortUID = regexp.MustCompile(`\A[0-9a-f]{8}`)

// shortName identifies by eight digits.
func shortName(uid string) string {
	if digits := shortUID.FindString(uid); digits != "" {
		return digits
	}
	sum := sha256.Sum256([]byte(uid))
	return fmt.Sprintf("%x", sum[:4])
}

// stop ends the work without waiting for it. It may be called again, and on nil.
func (s *schedule) stop() {
	if s != nil {
		s.cancel()
	}
}

// wait returns when the work has ended after stop. It may be called on nil. A disk that
// hangs holds a goroutine for as long; then the error says so.
func (s *schedule) wait() error {
	if s == nil {
		return nil
	}
	late := time.NewTimer(snapshotStop)
	defer late.Stop()
	for _, ended := range []func() <-chan struct{}{
		func() <-chan struct{} { return s.ended },
		func() <-chan struct{} { return s.task.ended() },
	} {
		select {
		case <-ended():
		case <-late.C:
			return fmt.Errorf("controlplane: stop: %w", s.hangs())
		}
	}
	return nil
}

func (s *schedule) hangs() error {
	return fmt.Errorf("the snapshot to %s has not ended: is its disk hung?", s.config.Dir)
}

func (s *schedule) run(ctx context.Context) {
	defer close(s.ended)
	timer := s.clock.NewTimer(s.config.Interval)
	defer timer.Stop()
	if err := s.do(ctx, s.survey); err != nil && ctx.Err() == nil {
		s.logger.Warn("the directory of snapshots cannot be read", zap.Error(err))
	}
	minute := s.clock.NewTicker(roomTick)
	defer minute.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-minute.C():
			if err := s.relieve(ctx); err != nil && ctx.Err() == nil {
				s.logger.Warn("old snapshots are not deleted, and etcd has too little room beside them", zap.Error(err))
			}
			continue
		case <-timer.C():
		}
		next := s.config.Interval
		if s.mine() {
			if err := s.do(ctx, s.one); err != nil && ctx.Err() == nil {
				next = min(next, snapshotRetry)
				snapshotFailures.Inc()
				s.logger.Error("the snapshot is not taken; it will be tried again", zap.Duration("in", next), zap.Error(err))
			}
		}
		timer.Reset(next)
	}
}

// survey lists the snapshots and warns about names from the future.
func (s *schedule) survey(ctx context.Context, _ *task) error {
	_, present, err := s.look(ctx)
	if err != nil {
		return err
	}
	if future := present.future(s.clock.Now()); len(future) > 0 {
		s.logger.Warn("snapshots have names from the future: the clock is wrong now, or was then; their numbers decide which are the newest",
			zap.Int("snapshots", len(future)), zap.String("one", future[len(future)-1].path), zap.Time("now", s.clock.Now().UTC()))
	}
	return nil
}

// relieve deletes the oldest snapshots where etcd refuses writes because they, and what
// others have written since, take its room.
func (s *schedule) relieve(ctx context.Context) error {
	stock := s.stock.Load()
	if stock == nil || !stock.shared || len(stock.finished) < 2 || !s.room.short() {
		return nil
	}
	return s.do(ctx, func(ctx context.Context, _ *task) error {
		cluster, present, err := s.look(ctx)
		if err != nil {
			return err
		}
		defer func() { _, _ = s.present(cluster) }()
		return s.room.relieve(present, s.logger)
	})
}

// look returns the name of the cluster and its snapshots.
func (s *schedule) look(ctx context.Context) (cluster string, present snapshotFiles, err error) {
	if cluster, err = s.cluster(ctx); err != nil {
		return cluster, present, err
	}
	present, err = s.present(cluster)
	return cluster, present, err
}

// present returns the snapshots of a cluster, and keeps them as s.stock.
func (s *schedule) present(cluster string) (snapshotFiles, error) {
	present, err := readSnapshots(s.config.Dir, cluster)
	if err == nil {
		_, present.shared = s.room.shared()
		s.stock.Store(&present)
	}
	return present, err
}

// one takes a snapshot and deletes the excess. When ctx has ended it only cleans up.
func (s *schedule) one(ctx context.Context, t *task) (err error) {
	size, err := s.size(ctx)
	if err != nil {
		return err
	}
	if s.config.Timeout == 0 {
		t.extend(snapshotTimeout + time.Duration(size/snapshotSpeed)*time.Second)
	}
	cluster, err := s.cluster(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.config.Dir, 0o700); err != nil {
		return fmt.Errorf("Config.Snapshots.Dir: %w", err)
	}
	if err := ownership.Dir(s.config.Dir); err != nil {
		return fmt.Errorf("Config.Snapshots.Dir: %w", err)
	}
	present, err := s.present(cluster)
	if err != nil {
		return err
	}
	if err := present.tidy(); err != nil {
		return err
	}
	defer func() { _, _ = s.present(cluster) }() // as it is now
	if err := s.room.make(present, size, s.logger); err != nil {
		return err
	}
	now := s.clock.Now()
	path := filepath.Join(s.config.Dir, nameOfSnapshot(cluster, present.next(), now))
	if err := s.write(ctx, path); err != nil {
		return err
	}
	lastSnapshot.Set(float64(now.Unix()))
	if present, err = s.present(cluster); err != nil {
		return err
	}
	return present.retain(s.config.Keep, path)
}

// write leaves a whole snapshot at path or nothing.
func (s *schedule) write(ctx context.Context, path string) (err error) {
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
	if err := s.take(ctx, s.room.writer(ctx, file)); err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx) // it counts as a failure already
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return files.SyncDir(s.config.Dir)
}

// advice says what of the snapshots can be deleted where etcd has too little room on
// their disk. It is empty where nothing can. It may be called on nil.
func (s *schedule) advice() string {
	if s == nil {
		return ""
	}
	stock := s.stock.Load()
	if stock == nil || !stock.shared || len(stock.finished) < 2 {
		return ""
	}
	return stock.advice(s.config.Dir)
}
