// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// checkSnapshots waits for a snapshot after the attacks, and restores it.
func checkSnapshots(t *testing.T, p *plane) {
	t.Helper()
	ended := time.Now()
	var data []byte
	// After a failure, the next snapshot is a minute later.
	testwait.UntilWithin(t, 90*time.Second, "a snapshot after the attacks", func(context.Context) error {
		paths, err := filepath.Glob(filepath.Join(p.Snapshots, "kubembed-*.tar"))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if info, err := os.Stat(path); err == nil && info.ModTime().After(ended) {
				data, err = os.ReadFile(path)
				return err // a newer one may have replaced it
			}
		}
		return fmt.Errorf("there are %v", paths)
	})
	err := controlplane.Restore(t.Context(), filepath.Join(t.TempDir(), "restored"), bytes.NewReader(data), controlplane.RestoreConfig{Key: snapshotKey})
	if err != nil {
		t.Errorf("the snapshot: %v", err)
	}
}
