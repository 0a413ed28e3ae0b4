// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// futureSnapshots creates files in the directory of the snapshots with names from the
// future. They stay: snapshots after the attacks are beside them.
func futureSnapshots(ctx context.Context, t *target, s *stats) {
	var names []string
	for i := range 5 {
		names = append(names, filepath.Join(t.Snapshots, fmt.Sprintf("kubembed-20400101T00000%d.000Z.tar", i)))
	}
	rounds(ctx, 5*time.Second, func() {
		for _, path := range names {
			s.tries.Add(1)
			if os.WriteFile(path, []byte("of the time when the clock was wrong"), 0o600) == nil {
				s.answered.Add(1)
			}
		}
	})
}

// fullDisk fills the disk of the snapshots, and frees it again.
func fullDisk(ctx context.Context, t *target, s *stats) {
	if !t.SnapshotDisk {
		s.note("only root has a disk to fill")
		return
	}
	path := filepath.Join(t.Snapshots, "filler")
	defer func() { _ = os.Remove(path) }()
	zeros := make([]byte, 1<<20)
	rounds(ctx, 4*time.Second, func() {
		if s.tries.Add(1)%2 == 0 {
			_ = os.Remove(path)
			return
		}
		file, err := os.Create(path)
		if err != nil {
			return
		}
		for err == nil {
			_, err = file.Write(zeros)
		}
		_ = file.Close()
		s.answered.Add(1)
	})
}
