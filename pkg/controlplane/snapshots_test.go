// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kubembed/kubembed/internal/etcdtest"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// alarmClock reports the durations that its timers are set to. The caller then starts to
// wait.
type alarmClock struct {
	*clocktesting.FakeClock
	set chan time.Duration
}

func newAlarmClock(now time.Time) alarmClock {
	return alarmClock{clocktesting.NewFakeClock(now), make(chan time.Duration, 100)}
}

func (c alarmClock) NewTimer(d time.Duration) clock.Timer {
	t := c.FakeClock.NewTimer(d)
	c.set <- d
	return alarm{t, c.set}
}

type alarm struct {
	clock.Timer
	set chan time.Duration
}

func (a alarm) Reset(d time.Duration) bool {
	active := a.Timer.Reset(d)
	a.set <- d
	return active
}

// waits checks how long it is until the next snapshot.
func (c alarmClock) waits(t *testing.T, want time.Duration) {
	t.Helper()
	if d := c.next(t); d != want {
		t.Fatalf("the next snapshot is after %v, want %v", d, want)
	}
}

// next waits until the time of the next snapshot is set, and returns how long it is until
// then.
func (c alarmClock) next(t *testing.T) time.Duration {
	t.Helper()
	select {
	case d := <-c.set:
		return d
	case <-time.After(time.Minute):
		t.Fatal("no snapshot is taken")
		return 0
	}
}

// snapshotFailures returns that metric, for all control planes of this process.
func snapshotFailures(t *testing.T) float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "kubembed_snapshot_failures_total" {
			return family.Metric[0].GetCounter().GetValue()
		}
	}
	t.Fatal("there is no kubembed_snapshot_failures_total")
	return 0
}

// waitsSoon checks that the next snapshot is due after a start.
func (c alarmClock) waitsSoon(t *testing.T) {
	t.Helper()
	select {
	case d := <-c.set:
		if d <= 0 || d > 10*time.Second {
			t.Fatalf("the next snapshot is after %v, want within ten seconds", d)
		}
	case <-time.After(time.Minute):
		t.Fatal("no snapshot is going to be taken")
	}
}

func wantEntries(t *testing.T, dir string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := entries(t, dir); !slices.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
}

// TestScheduleOfSnapshots: their names, their number, and the handling of failures.
func TestScheduleOfSnapshots(t *testing.T) {
	clock := newAlarmClock(time.Now())
	var cluster string
	name := func(number int) string {
		return fmt.Sprintf("kubembed-%s-%010d-%s.tar", cluster, number, clock.Now().UTC().Format("20060102T150405.000Z"))
	}
	dir := filepath.Join(t.TempDir(), "snapshots")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// Of a process that was killed, of one long ago, and of others.
	for _, file := range []string{
		"kubembed-20240102T030405.000Z.tar.unfinished", "kubembed-20240102T030405.000Z.tar",
		"a.unfinished", "kubembed-mine.tar", "kubembed-mine.tar.unfinished",
		"kubembed-0a0b0c0d-0000000007-20240102T030405.000Z.tar", "kubembed-0a0b0c0d-0000000008-20240102T030405.000Z.tar.unfinished",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	others := []string{
		"a.unfinished", "kubembed-mine.tar", "kubembed-mine.tar.unfinished",
		"kubembed-0a0b0c0d-0000000007-20240102T030405.000Z.tar", "kubembed-0a0b0c0d-0000000008-20240102T030405.000Z.tar.unfinished",
	}
	core, logs := observer.New(zapcore.ErrorLevel)
	cfg := controlplane.Config{
		Logger:    zap.New(core),
		Snapshots: controlplane.Snapshots{Dir: dir, Interval: time.Hour, Keep: 2},
	}
	cfg.SetClock(clock)
	cluster = clusterOf(t, start(t, cfg))
	clock.waitsSoon(t)
	failed := snapshotFailures(t)

	clock.Step(time.Hour)
	clock.waits(t, time.Hour)
	first := name(1)
	wantEntries(t, dir, append([]string{"kubembed-20240102T030405.000Z.tar", first}, others...)...)
	clock.Step(time.Hour)
	clock.waits(t, time.Hour)
	second := name(2)
	wantEntries(t, dir, append([]string{first, second}, others...)...)

	// Its directory is a file, which cannot be written to.
	away := dir + "-away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	clock.Step(time.Hour)
	clock.waits(t, time.Minute)
	clock.Step(time.Minute)
	clock.waits(t, time.Minute)
	if n := snapshotFailures(t) - failed; n != 2 {
		t.Errorf("%v failures are counted, want 2", n)
	}
	var said []observer.LoggedEntry
	testwait.Until(t, "two lines in the log", func(context.Context) error {
		if said = logs.FilterMessageSnippet("snapshot failed").All(); len(said) == 2 {
			return nil
		}
		return unexpected(logs.All())
	})
	if text, _ := said[0].ContextMap()["error"].(string); lacks(text, "Config.Snapshots.Dir", dir) != "" {
		t.Errorf("log: got %v, want Config.Snapshots.Dir and the directory", said[0].ContextMap())
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	// It is created again if it is missing.
	clock.Step(time.Minute)
	clock.waits(t, time.Hour)
	third := name(1)
	wantEntries(t, dir, third)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: got %v, %v, want mode 0700", info, err)
	}
	info, err := os.Stat(filepath.Join(dir, third))
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() == 0 {
		t.Errorf("the snapshot: got %v, %v, want mode 0600 and some bytes", info, err)
	}
}

// TestSnapshotsAreOfOne: one of the control planes that share an etcd takes the
// snapshots, and another one when that is closed. A snapshot that fails because etcd is
// unavailable leaves nothing.
func TestSnapshotsAreOfOne(t *testing.T) {
	t.Parallel()
	const interval = 30 * time.Second
	e := etcdtest.Start(t)
	var clocks []alarmClock
	var dirs []string
	servers := share(t, e, 2, func(i int, c *controlplane.Config) {
		clocks = append(clocks, newAlarmClock(time.Now()))
		dirs = append(dirs, t.TempDir())
		c.SetClock(clocks[i])
		c.Snapshots = controlplane.Snapshots{Dir: dirs[i], Interval: interval}
	})
	for i := range servers {
		clocks[i].waitsSoon(t)
	}
	// newest returns the newest snapshot of a server after its next turn.
	newest := func(i int) string {
		clocks[i].Step(interval)
		clocks[i].waits(t, interval)
		list := entries(t, dirs[i])
		for _, name := range list {
			if filepath.Ext(name) != ".tar" {
				t.Errorf("the directory: got %s, want archives only", name)
			}
		}
		return append([]string{""}, list...)[len(list)]
	}
	by := -1
	testwait.True(t, "one of them takes snapshots", func() bool {
		for i := range servers {
			if newest(i) != "" {
				by = i
			}
		}
		return by >= 0
	})
	if newest(1-by) != "" {
		t.Error("got snapshots of both, want those of one")
	}
	last := newest(by)
	e.Stop()
	if now := newest(by); now != last {
		t.Errorf("newest snapshot without etcd: got %s, want %s", now, last)
	}
	e.Restart(t)
	testwait.True(t, "a snapshot when etcd is back", func() bool { return newest(by) != last })
	closeServer(t, servers[by])
	testwait.True(t, "the other takes them", func() bool { return newest(1-by) != "" })
}

// clusterOf returns the name of the server's cluster in the names of snapshots.
func clusterOf(t testing.TB, server *controlplane.Server) string {
	t.Helper()
	namespace, err := admin(t, server).CoreV1().Namespaces().Get(t.Context(), "kube-system", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(namespace.UID[:8])
}

// lacks returns the first of want that is not in text.
func lacks(text string, want ...string) string {
	for _, part := range want {
		if !strings.Contains(text, part) {
			return part
		}
	}
	return ""
}
