// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Snapshots configures the snapshots that a control plane takes of itself, in the format
// of Server.Snapshot. If control planes share an etcd, one of them takes the scheduled
// ones. ListSnapshots lists them, and Server.TakeSnapshot takes one at once.
type Snapshots struct {
	// Dir is the directory for snapshots, best on another disk. It is created with mode
	// 0700 if it is missing, and Start fails if no file can be written to it. The file
	// names are kubembed-CLUSTER-NUMBER-TIME.tar: eight digits of the UID of the
	// namespace kube-system, a number that counts up, and the time in UTC. The number
	// determines the order, so that it does not depend on the clock. Control planes of
	// different clusters may share a directory. Names of earlier versions,
	// kubembed-TIME.tar, are older than all others and belong to every cluster. If empty,
	// "snapshots" in DataDir; required without DataDir.
	Dir string
	// Interval is the time between two snapshots, also across restarts: Start measures it
	// from the time in the name of the cluster's newest snapshot in Dir. If that is
	// longer ago or in the future, or if there is no snapshot, the first one is taken
	// within ten seconds after the start. A failure is logged and counted in the metric
	// kubembed_snapshot_failures_total. The next try follows after a minute, or after
	// Interval if that is less. If zero, only Server.TakeSnapshot takes snapshots.
	Interval time.Duration
	// Keep is the number of snapshots to keep; older ones are deleted. If the disk has
	// too little space for them, the oldest are deleted before the next one is written,
	// but never the last one. A snapshot does not use space that etcd needs on the same
	// disk: it fails instead, with etcd.ErrNoSpace in the log. If zero, 5.
	Keep int
	// Timeout bounds each snapshot until it is synchronized to the disk. A snapshot that
	// takes longer fails. While a disk that hangs blocks it, no other one starts. If
	// zero, 30 seconds and one more for each 4 MiB of the database.
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
		errs = append(errs, field.Invalid(at.Child("Timeout"), s.Timeout.String(), "must not be negative; zero depends on the size of the database"))
	}
	if s.Interval == 0 && s.Dir == "" && (s.Keep != 0 || s.Timeout != 0) {
		errs = append(errs, fieldpath.Detail(field.Required(at.Child("Interval"), ""), "%s or %s is set but no snapshot would be taken: set it, or set %s for snapshots of Server.TakeSnapshot",
			fieldpath.NameOf(at.Child("Keep")), fieldpath.NameOf(at.Child("Timeout")), fieldpath.NameOf(at.Child("Dir"))))
	}
	if s.Interval > 0 && s.Dir == "" && dataDir == "" {
		errs = append(errs, fieldpath.Detail(field.Required(at.Child("Dir"), ""), "the directory for snapshots, because there is no %s to keep them in", fieldpath.Name("DataDir")))
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

// clusterName returns the same name for all control planes of a cluster, and after a
// Restore.
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
