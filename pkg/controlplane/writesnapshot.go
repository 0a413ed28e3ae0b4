package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/kubembed/kubembed/internal/controlplane/snapshots"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// WriteSnapshot writes a snapshot, as Snapshot does, to the file at path with mode 0600.
// The file is complete and on the disk when WriteSnapshot returns nil. A file that is there
// before stays as it is until then, and is replaced as a whole; if WriteSnapshot fails,
// nothing is left. The snapshot is written to a temporary file in the directory of path,
// which must exist. One that a killed process has left there is removed by the next call
// for the same path. A symbolic link at path is followed.
//
// On the disk of etcd it fails with etcd.ErrNoSpace rather than use the room that etcd
// needs. It ends early as Snapshot does. A disk that hangs holds a goroutine, and
// WriteSnapshot returns a second after ctx has ended, or the control plane has stopped. It
// may be called concurrently.
func (s *Server) WriteSnapshot(ctx context.Context, path string) error {
	if err := s.writeSnapshot(ctx, path); err != nil {
		return fmt.Errorf("controlplane: snapshot: %w", err)
	}
	return nil
}

func (s *Server) writeSnapshot(ctx context.Context, path string) error {
	if path == "" {
		return errors.New("path is empty: name a file")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.writeFile(ctx, path) }()
	var cause error
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		cause = context.Cause(ctx)
	case <-s.done:
		cause = etcd.ErrClosed
	}
	grace := time.NewTimer(snapshots.Grace)
	defer grace.Stop()
	select {
	case err := <-ended:
		return err
	case <-grace.C:
		return fmt.Errorf("%w: the snapshot to %s has not ended: is its disk hung?", cause, path)
	}
}

// writeFile may be blocked by a disk that hangs.
func (s *Server) writeFile(ctx context.Context, path string) error {
	size, err := s.databaseSize(ctx)
	if err != nil {
		return err
	}
	disk := s.snapshotDisk("path", filepath.Dir(path))
	return snapshots.WriteFile(ctx, path, size, disk, s.config.Logger, func(w io.Writer) error { return s.snapshot(ctx, w) })
}
