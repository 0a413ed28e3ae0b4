// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/controlplane/snapshots"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/ownership"
)

// checkSnapshotDir fails a start for the reasons for which each snapshot would fail. A
// full disk is not one of them: deleting old snapshots frees space.
func (s *Server) checkSnapshotDir() error {
	if c := s.config.Snapshots; c.Interval == 0 && c.Dir == "" {
		return nil
	}
	const dirField = "Config.Snapshots.Dir"
	dir := s.snapshotDir()
	err := ownership.Dir(dir)
	if errors.Is(err, ErrUntrusted) {
		return fieldpath.New("", dirField, "%w", err)
	}
	if err == nil {
		s.madeDirs, err = snapshots.CheckDir(dir)
	}
	if errors.Is(err, errDiskFull) || errors.Is(err, errDiskQuota) {
		s.config.Logger.Warn("the disk of the snapshots is full", zap.String("field", dirField), zap.String("dir", dir), zap.Error(err))
		return nil
	}
	if err != nil {
		return fieldpath.New("", dirField, "%s: no snapshot can be written there: %w: name a directory that this process can write to", dir, err)
	}
	return nil
}
