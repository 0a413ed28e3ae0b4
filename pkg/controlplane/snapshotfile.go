// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/controlplane/snapshots"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// SnapshotFile is a snapshot in a directory of Config.Snapshots. Open Path for Restore.
type SnapshotFile struct {
	// Path is absolute.
	Path string
	// Cluster is eight hexadecimal digits of the UID of the namespace kube-system. It is
	// the same for all control planes of a cluster, and after a Restore. It is empty for
	// snapshots of earlier versions.
	Cluster string
	// Number counts the snapshots of a cluster in the directory. The higher one is newer,
	// whatever the clock was. It is zero if Cluster is empty.
	Number int
	// Time is the time in the name, in UTC, by the clock at that time.
	Time time.Time
	// Size is the size of the file in bytes.
	Size int64
}

// ListSnapshots returns the finished snapshots in dir, a directory of Config.Snapshots,
// the newest first: by number within a cluster, by time between clusters. It reads only
// their names. Empty files and files with other names are left out. If dir is missing the
// error is fs.ErrNotExist.
func ListSnapshots(dir string) ([]SnapshotFile, error) {
	if dir == "" {
		return nil, errors.New("controlplane: snapshots: dir is empty: name a directory")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("controlplane: snapshots: %w", err)
	}
	files, err := snapshots.List(dir)
	if err != nil {
		return nil, fmt.Errorf("controlplane: snapshots: %w", err)
	}
	all := make([]SnapshotFile, 0, len(files))
	for _, file := range files {
		all = append(all, snapshotFile(file))
	}
	return all, nil
}

func snapshotFile(f snapshots.File) SnapshotFile {
	return SnapshotFile{Path: f.Path, Cluster: f.Cluster, Number: int(f.Number), Time: f.Time, Size: f.Size} //nolint:gosec // at most 18 digits
}

// TakeSnapshot takes a snapshot into Config.Snapshots.Dir at once, and returns it when it
// is synchronized to the disk. It deletes older ones as a scheduled snapshot does, and
// the next scheduled one follows after Interval. It works with Interval zero too. It
// fails without Dir and DataDir.
//
// It waits for a snapshot in progress and then takes another. It ends early when ctx
// ends, with etcd.ErrClosed when the control plane stops, and after
// Config.Snapshots.Timeout, and then leaves nothing of the snapshot. If control planes
// share an etcd, each can take one, into its own Dir. Concurrent calls are allowed. An
// error with a SnapshotFile means that the snapshot was taken but an older one was not
// deleted.
func (s *Server) TakeSnapshot(ctx context.Context) (SnapshotFile, error) {
	file, err := s.takeSnapshot(ctx)
	if err != nil {
		err = fmt.Errorf("controlplane: snapshot: %w", err)
	}
	return file, err
}

func (s *Server) takeSnapshot(ctx context.Context) (SnapshotFile, error) {
	schedule := s.snapshots.Load()
	if schedule == nil {
		if s.config.Snapshots.Dir == "" && s.config.DataDir == "" {
			return SnapshotFile{}, fieldpath.Detail(field.Required(field.NewPath("Config", "Snapshots", "Dir"), ""), "the directory for snapshots, because there is no %s to keep them in; WriteSnapshot writes to any file", fieldpath.Name("Config.DataDir"))
		}
		return SnapshotFile{}, errors.New("the control plane is not ready yet")
	}
	file, err := schedule.Take(ctx)
	return snapshotFile(file), err
}
