package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/pkg/etcd"
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
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("controlplane: snapshots: %w", err)
	}
	clusters := map[string][]SnapshotFile{}
	for _, file := range slices.Backward(snapshotsAmong(entries, dir, "").finished) {
		if file.size > 0 {
			clusters[file.cluster] = append(clusters[file.cluster], file.public())
		}
	}
	// Those of earlier versions are older than all others.
	unnamed := clusters[""]
	delete(clusters, "")
	var all []SnapshotFile
	for len(clusters) > 0 {
		var newest []SnapshotFile
		for _, of := range clusters {
			if newest == nil || newer(of[0], newest[0]) {
				newest = of
			}
		}
		all = append(all, newest[0])
		if clusters[newest[0].Cluster] = newest[1:]; len(newest) == 1 {
			delete(clusters, newest[0].Cluster)
		}
	}
	return append(all, unnamed...), nil
}

// newer orders the newest snapshots of two clusters.
func newer(a, b SnapshotFile) bool {
	if order := a.Time.Compare(b.Time); order != 0 {
		return order > 0
	}
	return a.Cluster < b.Cluster
}

func (f snapshotFile) public() SnapshotFile {
	return SnapshotFile{Path: f.path, Cluster: f.cluster, Number: int(f.number), Time: f.time, Size: f.size} //nolint:gosec // at most 18 digits
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
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(schedule.ctx, func() { cancel(context.Cause(schedule.ctx)) })()
	if schedule.ctx.Err() != nil {
		return SnapshotFile{}, etcd.ErrClosed
	}
	return schedule.now(ctx)
}

// now takes a snapshot, and puts off the next one by the interval.
func (s *schedule) now(ctx context.Context) (SnapshotFile, error) {
	type result struct {
		file SnapshotFile
		err  error
	}
	taken := make(chan result, 1)
	err := s.do(ctx, func(ctx context.Context, t *task) error {
		path, err := s.next(ctx, t)
		if path != "" {
			select {
			case s.requested <- struct{}{}:
			default:
			}
			var file SnapshotFile
			if stock := s.stock.Load(); stock != nil {
				for _, f := range stock.finished {
					if f.path == path {
						file = f.public()
					}
				}
			}
			taken <- result{file, err}
		}
		return err
	})
	select {
	case r := <-taken:
		return r.file, r.err
	default:
		return SnapshotFile{}, err
	}
}
