package controlplane

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/kubembed/kubembed/internal/ownership"
)

// Snapshots says how often a control plane takes a snapshot of itself, in the
// form of Server.Snapshot. Where control planes share an etcd one of them does.
// ListSnapshots returns them, and Server.TakeSnapshot takes one at once.
type Snapshots struct {
	// Dir is the directory for them, best on another disk. It is created with mode
	// 0700 if it is missing, and Start fails if no file can be written to it. Their
	// names are kubembed-CLUSTER-NUMBER-TIME.tar: eight digits of the UID of the
	// namespace kube-system, a number that counts up, and the time in UTC. The number
	// decides which is newer, so that a clock may be corrected. Control planes of
	// different clusters may share a directory. Names of earlier versions,
	// kubembed-TIME.tar, count as older than all others, and as every cluster's.
	// If empty, "snapshots" in DataDir; required without one.
	Dir string
	// Interval is the time between two of them, also across restarts: Start measures
	// it from the time in the name of the cluster's newest snapshot in Dir. Where
	// that is longer ago, lies in the future, or there is none yet, the first one is
	// taken within ten seconds after the start. One that fails is
	// logged, counted in the metric kubembed_snapshot_failures_total, and taken again
	// after a minute, or Interval if that is less. If zero, none are taken but by
	// Server.TakeSnapshot.
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
	// snapshotSoon bounds the random delay of the first snapshot after a start, so that
	// control planes that start together do not all write at the same moment.
	snapshotSoon = 10 * time.Second
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
	if s.Interval == 0 && s.Dir == "" && (s.Keep != 0 || s.Timeout != 0) {
		errs = append(errs, field.Required(at.Child("Interval"), "Keep or Timeout is set but no snapshot would be taken: set it, or set Dir for snapshots of Server.TakeSnapshot"))
	}
	if s.Interval > 0 && s.Dir == "" && dataDir == "" {
		errs = append(errs, field.Required(at.Child("Dir"), "the directory for snapshots, because there is no DataDir to keep them in"))
	}
	return errs
}

// schedule takes snapshots until it is cancelled: at intervals, and on request.
type schedule struct {
	config Snapshots
	take   func(context.Context, io.Writer) error
	// cluster names the cluster, and size is that of its database.
	cluster func(context.Context) (string, error)
	size    func(context.Context) (int64, error)
	// mine reports whether it is for this control plane to take them.
	mine     func() bool
	room     *room
	measured *measured // counts
	logger   *zap.Logger
	clock    clock.WithTicker
	ctx      context.Context // ends when the control plane stops
	cancel   context.CancelCauseFunc
	ended    chan struct{} // closed when run has returned

	stock atomic.Pointer[snapshotFiles] // as of the last look
	taken atomic.Int64                  // how many
	// requested is notified of a snapshot that run has not taken.
	requested chan struct{}

	mu sync.Mutex
	// task has the disk; it may never return.
	task *task
}

// startSnapshots begins the work, if there is any.
func (s *Server) startSnapshots() {
	c := s.config.Snapshots
	if c.Dir == "" && s.temporary != nil {
		return
	}
	c.Dir = s.snapshotDir()
	if c.Keep == 0 {
		c.Keep = defaultKeep
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	schedule := &schedule{
		config: c, take: s.snapshot, cluster: s.clusterName, size: s.databaseSize, mine: s.takesSnapshots, room: s.newRoom(c.Dir), measured: s.measured,
		logger: s.config.Logger, clock: s.clock(), ctx: ctx, cancel: cancel, ended: make(chan struct{}), requested: make(chan struct{}, 1),
	}
	s.snapshots.Store(schedule)
	if c.Interval == 0 {
		close(schedule.ended)
		return
	}
	s.measured.scheduled.Store(true)
	go schedule.run(ctx)
}

// newRoom watches the disk of a directory for snapshots.
func (s *Server) newRoom(dir string) *room {
	r := newRoom(dir, filepath.Join(s.dir, "etcd"), nil)
	if s.member != nil {
		r.needed = s.member.SpaceNeeded
	}
	return r
}

// snapshotDir is Config.Snapshots.Dir, or its default.
func (s *Server) snapshotDir() string {
	return cmp.Or(s.config.Snapshots.Dir, filepath.Join(s.dir, "snapshots"))
}

// takesSnapshots reports whether it is for this control plane to take them.
func (s *Server) takesSnapshots() bool { return s.elections.Holds(snapshotLease) }

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
func (s *schedule) one(ctx context.Context, t *task) error {
	_, err := s.next(ctx, t)
	return err
}

// next is one, and returns the path of the snapshot.
func (s *schedule) next(ctx context.Context, t *task) (path string, err error) {
	size, err := s.size(ctx)
	if err != nil {
		return "", err
	}
	if s.config.Timeout == 0 {
		t.extend(snapshotTimeout + time.Duration(size/snapshotSpeed)*time.Second)
	}
	cluster, err := s.cluster(ctx)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(s.config.Dir, 0o700); err != nil {
		return "", fmt.Errorf("Config.Snapshots.Dir: %w", err)
	}
	if err := ownership.Dir(s.config.Dir); err != nil {
		return "", fmt.Errorf("Config.Snapshots.Dir: %w", err)
	}
	present, err := s.present(cluster)
	if err != nil {
		return "", err
	}
	if err := present.tidy(); err != nil {
		return "", err
	}
	defer func() { _, _ = s.present(cluster) }() // as it is now
	if err := s.room.make(present, size, s.logger); err != nil {
		return "", err
	}
	now := s.clock.Now()
	path = filepath.Join(s.config.Dir, nameOfSnapshot(cluster, present.next(), now))
	if err := s.write(ctx, path); err != nil {
		return "", err
	}
	s.taken.Add(1)
	s.measured.snapshotTaken(now)
	defer s.logSnapshot(path, now, present)
	if present, err = s.present(cluster); err != nil {
		return path, err
	}
	return path, present.retain(s.config.Keep, path)
}

// write leaves a whole snapshot at path or nothing.
func (s *schedule) write(ctx context.Context, path string) error {
	err := writeWhole(ctx, path, path+unfinishedSuffix, func(file io.Writer) error {
		return s.take(ctx, s.room.writer(ctx, file))
	})
	var of *fs.PathError
	if errors.As(err, &of) {
		return fmt.Errorf("Config.Snapshots.Dir: %w", err)
	}
	return err
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
