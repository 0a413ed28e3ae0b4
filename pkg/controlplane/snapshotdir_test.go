// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestStartChecksTheDirectoryOfSnapshots: otherwise the first snapshot would fail a day
// later.
func TestStartChecksTheDirectoryOfSnapshots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, snapshots := range map[string]controlplane.Snapshots{
		"a file":              {Dir: file, Interval: time.Hour},
		"below a file":        {Dir: filepath.Join(file, "snapshots"), Interval: time.Hour},
		"without an interval": {Dir: file},
	} {
		server, err := controlplane.Start(t.Context(), controlplane.Config{Snapshots: snapshots})
		if err == nil {
			closeServer(t, server)
		}
		if err == nil || lacks(err.Error(), "Config.Snapshots.Dir", snapshots.Dir, "name a directory") != "" {
			t.Errorf("%s: %v, want an error about Config.Snapshots.Dir", name, err)
		}
	}
	// A failed start removes the directories that it has created.
	_, err := controlplane.Start(t.Context(), controlplane.Config{
		Snapshots: controlplane.Snapshots{Dir: filepath.Join(dir, "a", "b"), Interval: time.Hour},
		PKI:       []byte("no keys"),
	})
	if err == nil || strings.Contains(err.Error(), "Snapshots") {
		t.Errorf("error %v, want one about PKI", err)
	}
	wantEntries(t, dir, "file")
}
