package controlplane

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/controlplane/snapshots"
)

// SnapshotFile is a snapshot in a directory of Config.Snapshots. Open Path for Restore.
type SnapshotFile struct {
	// Path is absolute.
	Path string
	// Cluster is eight hexadecimal digits of the UID of the namespace kube-system. It is
	// the same for all control planes of a cluster, and after a Restore. It is empty for
	// snapshots of earlier versions, which did not name it.
	Cluster string
	// Number counts the snapshots of a cluster in the directory: of two the one with the
	// higher number is newer, whatever the clock said. It is zero where Cluster is empty.
	Number int
	// Time is the time in the name, in UTC, of the clock of that time.
	Time time.Time
	// Size is that of the file, in bytes.
	Size int64
}

// ListSnapshots returns the finished snapshots in dir, a directory of Config.Snapshots, the
// newest first: by number within a cluster, by time between clusters. It goes by their
// names and does not read them. Empty files and files with other names are left out. If
// dir is missing the error is fs.ErrNotExist.
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
// is on the disk. It deletes older ones as a scheduled snapshot does, and the next
// of those is taken Interval later. It works with Interval zero too. Without Dir and
// DataDir it fails.
//
// It waits for a snapshot that is being taken, scheduled or not, and takes another. It ends
// early when ctx ends, with etcd.ErrClosed when the control plane stops, and after
// Config.Snapshots.Timeout; nothing of the snapshot is left then. Where control planes share
// an etcd any of them may be asked, and takes it into its own Dir. It may be called
// concurrently. An error with a SnapshotFile says that the snapshot was taken, and
// an older one not deleted.
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
			return SnapshotFile{}, field.Required(field.NewPath("Config", "Snapshots", "Dir"), "the directory for snapshots, because there is no DataDir to keep them in; WriteSnapshot writes to any file")
		}
		return SnapshotFile{}, errors.New("the control plane is not ready yet")
	}
	file, err := schedule.Take(ctx)
	return snapshotFile(file), err
}
