// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// freeze blocks every write to the file system until thaw, or the end of the test.
func freeze(t *testing.T, mount string) (thaw func()) {
	t.Helper()
	if out, err := exec.Command("fsfreeze", "-f", mount).CombinedOutput(); err != nil {
		t.Skipf("fsfreeze: %v: %s", err, out)
	}
	thawed := false
	thaw = func() {
		if !thawed {
			thawed = true
			if out, err := exec.Command("fsfreeze", "-u", mount).CombinedOutput(); err != nil {
				t.Errorf("fsfreeze: %v: %s", err, out)
			}
		}
	}
	t.Cleanup(thaw)
	return thaw
}

// closed calls Close, which must return in time.
func closed(t *testing.T, server *controlplane.Server, within time.Duration) error {
	t.Helper()
	ended := make(chan error, 1)
	begin := time.Now()
	go func() { ended <- server.Close() }()
	select {
	case err := <-ended:
		t.Logf("Close: %s: %v", time.Since(begin).Round(time.Millisecond), err)
		return err
	case <-time.After(within):
		var stacks strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		t.Fatalf("Close has not returned after %s\n%s", within, &stacks)
		return nil
	}
}

// TestDiskOfSnapshotsHangs: the failure is counted and logged, one goroutine waits for
// the disk and no other, and Close names the snapshot that has not ended.
func TestDiskOfSnapshotsHangs(t *testing.T) {
	disk := smallDisk(t, 32)
	goroutines := goleak.IgnoreCurrent()
	core, logs := observer.New(zapcore.ErrorLevel)
	dir := filepath.Join(disk, "s")
	server, err := controlplane.Start(t.Context(), controlplane.Config{
		Logger:    zap.New(core),
		Snapshots: controlplane.Snapshots{Dir: dir, Interval: 30 * time.Millisecond, Timeout: 200 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() }) // before the disk goes
	testwait.True(t, "a snapshot", func() bool {
		list, _ := filepath.Glob(filepath.Join(dir, "*.tar"))
		return len(list) > 0
	})
	failed := snapshotFailures(t)
	thaw := freeze(t, disk)
	testwait.True(t, "three failures", func() bool { return snapshotFailures(t)-failed >= 3 })
	for _, want := range []string{"has not ended after", "another snapshot is still using the disk", dir, "is its disk hung?"} {
		found := false
		for _, entry := range logs.FilterMessageSnippet("snapshot failed").All() {
			found = found || strings.Contains(fmt.Sprint(entry.ContextMap()["error"]), want)
		}
		if !found {
			t.Errorf("log: got %v, want %q in an error", logs.All(), want)
		}
	}
	if n := stacks(t, "snapshots.(*Schedule).take("); n != 1 {
		t.Errorf("goroutines that take snapshots: got %d, want 1", n)
	}
	putConfigMap(t, admin(t, server), "meanwhile", "x")
	if err := closed(t, server, 30*time.Second); err == nil || lacks(err.Error(), dir, "is its disk hung?") != "" {
		t.Errorf("Close: got %v, want an error about %s", err, dir)
	}
	thaw()
	if err := leaks(goroutines); err != nil {
		t.Error(err)
	}
	for _, name := range entries(t, dir) {
		if !strings.HasSuffix(name, ".tar") {
			t.Errorf("left behind: got %s, want archives only", name)
		}
	}
}

// TestWriteSnapshotToADiskThatHangs: the call returns when the control plane has stopped,
// also one whose ctx never ends.
func TestWriteSnapshotToADiskThatHangs(t *testing.T) {
	disk := smallDisk(t, 32)
	server := start(t, controlplane.Config{})
	thaw := freeze(t, disk)
	written := make(chan error, 1)
	go func() { written <- server.WriteSnapshot(context.Background(), filepath.Join(disk, "s.tar")) }()
	testwait.True(t, "the call waits for the disk", func() bool { return stacks(t, "snapshots.createLocked(") > 0 })
	closeServer(t, server)
	select {
	case err := <-written:
		if !errors.Is(err, etcd.ErrClosed) || lacks(err.Error(), disk, "is its disk hung?") != "" {
			t.Errorf("error %v, want ErrClosed, about %s", err, disk)
		}
	case <-time.After(time.Minute):
		t.Error("the call has not returned after the stop")
	}
	thaw()
	testwait.True(t, "nothing is left", func() bool { return stacks(t, "controlplane.(*Server).writeFile(") == 0 })
	if list, err := filepath.Glob(filepath.Join(disk, "s.tar*")); err != nil || len(list) > 0 {
		t.Errorf("left behind: got %v, %v, want nothing", list, err)
	}
}

// leave fills a disk except for a number of megabytes.
func leave(t *testing.T, disk string, free int64) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	if take := freeMB(t, disk) - free; take > 0 {
		if err := unix.Fallocate(int(file.Fd()), 0, 0, take<<20); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// exhaust extends a file until the disk has no space for the smallest other file. ext4
// reserves more for a write than it needs, and frees the rest when the write is on the
// disk.
func exhaust(t *testing.T, disk string, filler *os.File) {
	t.Helper()
	for {
		for err := error(nil); err == nil; {
			_, err = filler.Write(make([]byte, 4096))
		}
		if err := filler.Sync(); err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		small, err := os.Create(filepath.Join(disk, "small"))
		if err == nil {
			_, err = small.Write([]byte("x"))
			err = errors.Join(err, small.Sync(), small.Close(), os.Remove(small.Name()))
		}
		if errors.Is(err, unix.ENOSPC) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func freeMB(t *testing.T, disk string) int64 {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(disk, &fs); err != nil {
		t.Fatal(err)
	}
	return int64(fs.Bavail) * fs.Bsize >> 20
}

// TestSnapshotsOnTheDiskOfEtcd: snapshots never use the space that etcd needs. The oldest
// are deleted for the next one. If that is not enough, the next one fails and leaves
// nothing.
func TestSnapshotsOnTheDiskOfEtcd(t *testing.T) {
	disk := smallDisk(t, 520)
	core, logs := observer.New(zapcore.WarnLevel)
	clock := newAlarmClock(time.Now())
	data := filepath.Join(disk, "data")
	cfg := controlplane.Config{DataDir: data, Logger: zap.New(core), Snapshots: controlplane.Snapshots{Interval: time.Hour}}
	cfg.SetClock(clock)
	server := start(t, cfg)
	clock.waitsSoon(t)
	client := admin(t, server)
	value := strings.Repeat("x", 700_000)
	for i := range 60 {
		putConfigMap(t, client, fmt.Sprintf("fill-%d", i), value)
	}
	dir := filepath.Join(data, "snapshots")
	failed := snapshotFailures(t)
	highest := 0
	for range 6 {
		clock.Step(time.Hour)
		if next := clock.next(t); next != time.Hour {
			t.Fatalf("the next snapshot is after %v, want %v; the log: %v", next, time.Hour, logs.All())
		}
		highest = max(highest, len(entries(t, dir)))
		putConfigMap(t, client, "written", "x")
		if text := spaceCheck(t, client); text != "" {
			t.Fatalf("the readiness check with %d MB free: got %s, want it green", freeMB(t, disk), text)
		}
	}
	if n := snapshotFailures(t) - failed; n != 0 {
		t.Errorf("failures: got %v, want 0: %v", n, logs.All())
	}
	if list := entries(t, dir); highest >= 5 || highest < 1 || len(list) < 1 || !strings.Contains(list[len(list)-1], "-0000000006-") {
		t.Errorf("got %d snapshots with space and %v, want 1 to 4 and number 6: the disk has another size than the test expects", highest, list)
	}
	if logs.FilterMessageSnippet("deleted the oldest snapshots").Len() == 0 {
		t.Errorf("log: got %v, want that snapshots were deleted", logs.All())
	}

	// Others fill the disk.
	filler := leave(t, disk, 140)
	before := entries(t, dir)
	clock.Step(time.Hour)
	clock.waits(t, time.Minute)
	if n := snapshotFailures(t) - failed; n != 1 {
		t.Errorf("%v failures are counted, want one", n)
	}
	if list := entries(t, dir); len(list) == 0 || list[len(list)-1] != before[len(before)-1] || strings.Contains(strings.Join(list, " "), "unfinished") {
		t.Errorf("snapshots: got %v, want the newest of %v and none unfinished", list, before)
	}
	said := logs.FilterMessageSnippet("snapshot failed").All()
	if len(said) != 1 || lacks(fmt.Sprint(said[0].ContextMap()["error"]), etcd.ErrNoSpace.Error(), dir, "bytes are free") != "" {
		t.Errorf("log: got %v, want one failure that names ErrNoSpace and the directory", said)
	}
	putConfigMap(t, client, "written", "y")

	// And more, until etcd refuses writes.
	if err := filler.Truncate(0); err != nil {
		t.Fatal(err)
	}
	clock.Step(time.Hour) // two again
	clock.waits(t, time.Hour)
	clock.Step(time.Hour)
	clock.waits(t, time.Hour)
	if n := len(entries(t, dir)); n < 2 {
		t.Fatalf("snapshots: got %d, want at least 2", n)
	}
	leave(t, disk, 100)
	var text string
	testwait.True(t, "the readiness check is red", func() bool { text = spaceCheck(t, client); return text != "" })
	if lacks(text, dir, "all but the newest") != "" {
		t.Errorf("the readiness check: got %s, want that all but the newest can be deleted", text)
	}
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("refused", "x"), metav1.CreateOptions{}); err == nil {
		t.Error("a write: got no error, want one")
	}
	// The next check frees space for etcd by deleting all but the newest.
	clock.Step(time.Hour)
	clock.waits(t, time.Minute)
	testwait.True(t, "the readiness check is green", func() bool { return spaceCheck(t, client) == "" })
	putConfigMap(t, client, "written", "z")
	if list := entries(t, dir); len(list) == 0 {
		t.Error("got no snapshot, want the newest")
	}
}

// TestStartChecksTheDiskOfSnapshots: a read-only disk is refused. A full disk is not,
// because deleting old snapshots frees space.
func TestStartChecksTheDiskOfSnapshots(t *testing.T) {
	disk := smallDisk(t, 16)
	filler := leave(t, disk, 0)
	exhaust(t, disk, filler)
	logger, logs := observed(zapcore.WarnLevel)
	cfg := controlplane.Config{Logger: logger, Snapshots: controlplane.Snapshots{Dir: disk, Interval: time.Hour}}
	closeServer(t, start(t, cfg))
	if logs.FilterMessageSnippet("the disk of the snapshots is full").Len() != 1 {
		t.Errorf("log: got %v, want that the disk is full", logs.All())
	}
	if err := filler.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "remount,ro", disk).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	server, err := controlplane.Start(t.Context(), cfg)
	if err == nil {
		closeServer(t, server)
	}
	if err == nil || lacks(err.Error(), "Config.Snapshots.Dir", disk, "read-only") != "" {
		t.Errorf("error %v, want that the disk is read-only", err)
	}
}
