// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// TestSnapshotsAfterAClockCorrection: the newest snapshots are kept, whatever the clock
// says, and older ones with a wrong time are deleted.
func TestSnapshotsAfterAClockCorrection(t *testing.T) {
	const year = 365 * 24 * time.Hour
	clock := newAlarmClock(time.Now())
	dir := t.TempDir()
	for i := range 3 {
		name := fmt.Sprintf("kubembed-2140010%dT000000.000Z.tar", i+1)
		if err := os.WriteFile(filepath.Join(dir, name), []byte("of an earlier version"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	core, logs := observer.New(zapcore.WarnLevel)
	cfg := controlplane.Config{
		Logger:    zap.New(core),
		Snapshots: controlplane.Snapshots{Dir: dir, Interval: time.Hour, Keep: 3},
	}
	cfg.SetClock(clock)
	cluster := clusterOf(t, start(t, cfg))
	clock.waitsSoon(t)
	failed := snapshotFailures(t)

	var taken []string
	now := clock.Now()
	for i, jump := range []time.Duration{0, year, -2 * year, 0, year} {
		now = now.Add(jump + time.Hour)
		// The timer goes by elapsed time, not by the time of day.
		clock.Step(time.Hour)
		clock.SetTime(now)
		clock.waits(t, time.Hour)
		list := entries(t, dir)
		newest := slices.IndexFunc(list, func(name string) bool {
			return strings.HasPrefix(name, fmt.Sprintf("kubembed-%s-%010d-", cluster, i+1))
		})
		if newest < 0 {
			t.Fatalf("after snapshot %d and a jump of %v: got %v, want the snapshot in it", i+1, jump, list)
		}
		taken = append(taken, list[newest])
		for _, name := range taken[max(0, len(taken)-3):] {
			if !slices.Contains(list, name) {
				t.Errorf("after a jump of %v: got %v, want %s in it", jump, list, name)
			}
		}
		if len(list) != 3 {
			t.Errorf("after a jump of %v: got %v, want 3", jump, list)
		}
	}
	if n := snapshotFailures(t) - failed; n != 0 {
		t.Errorf("failures: got %v, want 0", n)
	}
	if n := logs.FilterMessageSnippet("from the future").Len(); n != 1 {
		t.Errorf("%d warnings of names from the future, want one: %v", n, logs.All())
	}
}
