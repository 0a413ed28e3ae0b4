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
	// goroutinesTimeout, as a stop waits for the sweep.
	sweepTimeout = 4 * time.Second
	// sweepFirst is the free space below which a start sweeps before it begins, as it
	// may need the space that killed processes have taken.
	sweepFirst = 512 << 20
)

// makeTemporary makes the directory of an ephemeral control plane.
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

// startSweep removes the directories of killed processes in the background, whether the
// control plane is ephemeral or not: a host may have got a DataDir since. The goroutine
// is of the control plane's family, so that a stop waits for it: a process that lives for
// a second sweeps, too.
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
		s.config.Logger.Info("temporary directories of killed processes cannot be removed", zap.Error(err))
	}
}
