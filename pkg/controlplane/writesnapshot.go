// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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
// When it returns nil the file is complete and synchronized to the disk. An existing file
// stays until then, and is replaced as a whole. If WriteSnapshot fails, nothing is left.
// The snapshot is first written to a temporary file in the directory of path, which must
// exist. The next call for the same path removes the temporary file of a killed process.
// A symbolic link at path is followed.
//
// On etcd's disk it fails with etcd.ErrNoSpace before it uses the space that etcd needs.
// It ends early like Snapshot. If a disk hangs, it returns a second after ctx has ended
// or the control plane has stopped, and leaves a goroutine. Concurrent calls are allowed.
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
	disk := func(dir string) *snapshots.Disk { return s.snapshotDisk("path", dir) }
	return snapshots.WriteFile(ctx, path, size, disk, s.config.Logger, func(w io.Writer) error { return s.snapshot(ctx, w) })
}
