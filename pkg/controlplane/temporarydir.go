// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/diskspace"
	"github.com/kubembed/kubembed/internal/tempdir"
)

const (
	// sweepTimeout bounds a sweep, which takes milliseconds. It is shorter than
	// goroutinesTimeout, because a stop waits for the sweep.
	sweepTimeout = 4 * time.Second
	// sweepFirst is the free space below which a start sweeps first, because it may need
	// the space of killed processes.
	sweepFirst = 512 << 20
)

// makeTemporary creates the directory of an ephemeral control plane.
func (s *Server) makeTemporary(ctx context.Context) (err error) {
	if free, ok := diskspace.Free(os.TempDir()); ok && free < sweepFirst {
		s.sweep(ctx)
	}
	if s.temporary, err = tempdir.Make(""); err != nil {
		return err
	}
	s.dir = s.temporary.Path
	return nil
}

// startSweep removes the directories of killed processes in the background, also for a
// durable control plane: the host may have switched to a DataDir. A stop waits for the
// goroutine, so that a process that lives for only a second sweeps too.
func (s *Server) startSweep() {
	go s.sweep(context.Background())
}

func (s *Server) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	removed, err := tempdir.Sweep(ctx)
	for _, path := range removed {
		s.config.Logger.Info("removed the temporary directory of a process that was killed", zap.String("path", path))
	}
	if err != nil {
		s.config.Logger.Info("cannot remove temporary directories of killed processes", zap.Error(err))
	}
}
