// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestSnapshotIntervalAcrossRestarts: with an interval of a day and daily restarts there
// were once no snapshots.
func TestSnapshotIntervalAcrossRestarts(t *testing.T) {
	const day = 24 * time.Hour
	clock := newAlarmClock(time.Now().Truncate(time.Second))
	dir := t.TempDir()
	cfg := controlplane.Config{DataDir: t.TempDir(), Snapshots: controlplane.Snapshots{Dir: dir, Interval: day}}
	cfg.SetClock(clock)

	server := start(t, cfg)
	cluster := clusterOf(t, server)
	clock.waitsSoon(t) // there is none
	clock.Step(10 * time.Second)
	clock.waits(t, day)
	count := func(want int) {
		t.Helper()
		list, err := filepath.Glob(filepath.Join(dir, "kubembed-"+cluster+"-*.tar"))
		if err != nil || len(list) != want {
			t.Fatalf("there are %v, want %d (%v)", list, want, err)
		}
	}
	count(1)
	clock.Step(10 * time.Hour)
	closeServer(t, server)

	// Of another cluster, which does not count.
	other := fmt.Sprintf("kubembed-ffffffff-0000000009-%s.tar", clock.Now().UTC().Format("20060102T150405.000Z"))
	if err := os.WriteFile(filepath.Join(dir, other), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	server = start(t, cfg)
	clock.waits(t, 14*time.Hour)
	// TakeSnapshot delays the next one.
	if _, err := server.TakeSnapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	clock.waits(t, day)
	count(2)
	closeServer(t, server)

	clock.Step(day + time.Hour) // while the process was down
	server = start(t, cfg)
	clock.waitsSoon(t)
	clock.Step(10 * time.Second)
	clock.waits(t, day)
	count(3)
	closeServer(t, server)
}
