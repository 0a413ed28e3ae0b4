package controlplane

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes"

	"github.com/kubembed/kubembed/internal/controlplane/snapshots"
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

const defaultKeep = 5

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

// startSnapshots starts the schedule, if there is a directory for snapshots.
func (s *Server) startSnapshots() {
	c := s.config.Snapshots
	if c.Dir == "" && s.temporary != nil {
		return
	}
	dir := s.snapshotDir()
	s.snapshots.Store(snapshots.Start(snapshots.Config{
		Dir: dir, Interval: c.Interval, Keep: cmp.Or(c.Keep, defaultKeep), Timeout: c.Timeout,
		Write: s.snapshot, Cluster: s.clusterName, Size: s.databaseSize, Elected: s.takesSnapshots,
		Taken: s.measured.snapshotTaken, Failed: s.measured.snapshotFailed,
		Disk: s.snapshotDisk("Config.Snapshots.Dir", dir), Logger: s.config.Logger, Clock: s.clock(),
	}))
	s.measured.scheduled.Store(c.Interval > 0)
}

// snapshotDisk returns the disk of a directory for snapshots, which errors call field.
func (s *Server) snapshotDisk(field, dir string) *snapshots.Disk {
	var needed func() int64
	if s.member != nil {
		needed = s.member.SpaceNeeded
	}
	return snapshots.NewDisk(field, dir, filepath.Join(s.dir, "etcd"), needed)
}

// snapshotDir returns Config.Snapshots.Dir, or its default.
func (s *Server) snapshotDir() string {
	return cmp.Or(s.config.Snapshots.Dir, filepath.Join(s.dir, "snapshots"))
}

// takesSnapshots reports whether this control plane takes the scheduled snapshots.
func (s *Server) takesSnapshots() bool { return s.elections.Holds(snapshotLease) }

func (s *Server) databaseSize(ctx context.Context) (int64, error) {
	status, err := s.EtcdStatus(ctx)
	return status.SizeBytes, err
}

// clusterName returns the same name for all control planes of a cluster, and after a Restore.
func (s *Server) clusterName(ctx context.Context) (string, error) {
	client, err := kubernetes.NewForConfig(s.ClientConfig())
	if err != nil {
		return "", err
	}
	namespace, err := client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("namespace %s: %w", metav1.NamespaceSystem, err)
	}
	return snapshots.ShortName(string(namespace.UID)), nil
}
