// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package snapshots

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kubembed/kubembed/pkg/etcd"
)

const testCluster = "0a0b0c0d"

// disk is what a test says of a disk that snapshots share with etcd.
type disk struct {
	size, others int64 // of the disk, and what others have written
	meanwhile    int64 // what others write while snapshots are deleted
	dir          string
	seen         int // the number of files
}

func (d *disk) free(string) (int64, bool) {
	entries, _ := os.ReadDir(d.dir)
	if len(entries) < d.seen {
		d.others += d.meanwhile
	}
	d.seen = len(entries)
	free := d.size - d.others
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			free -= info.Size()
		}
	}
	return free, true
}

// scheduleOn has etcd on the same disk, which needs 100 MiB.
func scheduleOn(t *testing.T, d *disk, size int64, write func(context.Context, io.Writer) error) *Schedule {
	d.dir = t.TempDir()
	shared := NewDisk(dirField, d.dir, d.dir, func() int64 { return 100 << 20 })
	shared.free = d.free
	shared.same = func(string, string) bool { return true }
	return &Schedule{Config: Config{
		Dir: d.dir, Interval: time.Hour, Keep: 5,
		Write:   write,
		Cluster: func(context.Context) (string, error) { return testCluster, nil },
		Size:    func(context.Context) (int64, error) { return size, nil },
		Elected: func() bool { return true },
		Taken:   func(time.Time) {},
		Failed:  func() {},
		Disk:    shared,
		Logger:  zap.NewNop(),
		Clock:   clock.RealClock{},
	}}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return strings.Join(all, " ")
}

// TestDiskFillsWhileASnapshotIsWritten: it stops while etcd has room, and leaves nothing.
func TestDiskFillsWhileASnapshotIsWritten(t *testing.T) {
	d := &disk{size: 200 << 20}
	wrote := 0
	s := scheduleOn(t, d, 8<<20, func(_ context.Context, w io.Writer) error {
		for range 8 {
			n, err := w.Write(make([]byte, 1<<20))
			wrote += n
			if err != nil {
				return err
			}
			if wrote == 4<<20 {
				d.others = 90 << 20
			}
		}
		return nil
	})
	err := s.do(t.Context(), s.takeUnless(0))
	if !errors.Is(err, etcd.ErrNoSpace) || !strings.Contains(err.Error(), d.dir) {
		t.Errorf("error %v, want ErrNoSpace about %s", err, d.dir)
	}
	if wrote > 6<<20 {
		t.Errorf("%d bytes are written", wrote)
	}
	if left := names(t, d.dir); left != "" {
		t.Errorf("left: %s", left)
	}
}

// TestOldSnapshotsMakeRoom, but only where that helps, and never the newest that has
// something in it.
func TestOldSnapshotsMakeRoom(t *testing.T) {
	for _, tc := range []struct {
		name       string
		disk       disk
		empty      bool   // the newest is
		kept, gone string // of the numbers 1 to 3, of 10 MiB each
		fails      bool
	}{
		{name: "room for all", disk: disk{size: 300 << 20}, kept: "1 2 3 4"},
		{name: "room for three", disk: disk{size: 200 << 20}, kept: "2 3 4", gone: "1"},
		{name: "room for two", disk: disk{size: 190 << 20}, kept: "3 4", gone: "1 2"},
		{name: "etcd writes while they are deleted", disk: disk{size: 195 << 20, meanwhile: 4 << 20}, kept: "2 3 4", gone: "1"},
		{name: "no room, whatever is deleted", disk: disk{size: 160 << 20}, kept: "1 2 3", fails: true},
		{name: "no room for etcd", disk: disk{size: 200 << 20, others: 72 << 20}, kept: "3", gone: "1 2", fails: true},
		{name: "the newest is empty", disk: disk{size: 180 << 20}, empty: true, kept: "1 2 3", fails: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := tc.disk
			s := scheduleOn(t, &d, 10<<20, func(_ context.Context, w io.Writer) error {
				_, err := w.Write(make([]byte, 10<<20))
				return err
			})
			for i := range uint64(3) {
				size := int64(10 << 20)
				if tc.empty && i == 2 {
					size = 0
				}
				if err := os.WriteFile(filepath.Join(d.dir, fileName(testCluster, i+1, time.Now())), make([]byte, size), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.do(t.Context(), s.takeUnless(0)); errors.Is(err, etcd.ErrNoSpace) != tc.fails || !tc.fails && err != nil {
				t.Errorf("error %v", err)
			}
			left := names(t, d.dir)
			for number := range strings.FieldsSeq(tc.kept) {
				if !strings.Contains(left, "-000000000"+number+"-") {
					t.Errorf("%s is gone: %s", number, left)
				}
			}
			for number := range strings.FieldsSeq(tc.gone) {
				if strings.Contains(left, "-000000000"+number+"-") {
					t.Errorf("%s is there: %s", number, left)
				}
			}
			if strings.Contains(left, unfinishedSuffix) {
				t.Errorf("left: %s", left)
			}
		})
	}
}

// TestOrderOfSnapshots goes by their numbers. Files without one are older, and files of
// another cluster, or of nobody, are ignored.
func TestOrderOfSnapshots(t *testing.T) {
	dir := t.TempDir()
	at := func(year int) time.Time { return time.Date(year, 1, 2, 3, 4, 5, 0, time.UTC) }
	want := []string{
		"kubembed-20250102T030405.000Z.tar",
		"kubembed-20400102T030405.000Z.tar",
		fileName(testCluster, 1, at(2041)),
		fileName(testCluster, 2, at(2025)),
		fileName(testCluster, 10_000_000_000, at(1970)),
	}
	for _, name := range append([]string{
		fileName("ffffffff", 3, at(2026)), "kubembed-mine.tar", "kubembed-20260102T030405.000Z.tar.gz",
		"kubembed-" + testCluster + "-99999999999999999999-20260102T030405.000Z.tar",
		"kubembed-" + testCluster + "-0000000011-20261302T030405.000Z.tar",
		fileName(testCluster, 4, at(2026)) + unfinishedSuffix,
	}, want...) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, fileName(testCluster, 11, at(2026))), 0o700); err != nil {
		t.Fatal(err)
	}
	found, err := readDir(dir, testCluster)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, file := range found.finished {
		got = append(got, filepath.Base(file.Path))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("there are\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(found.unfinished) != 1 || found.next() != 10_000_000_001 {
		t.Errorf("unfinished %v, next %d", found.unfinished, found.next())
	}
	if future := found.future(at(2026)); len(future) != 2 {
		t.Errorf("from the future: %v", future)
	}
}

// TestNextSnapshotIsDue by the newest of the cluster that has something in it.
func TestNextSnapshotIsDue(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(number uint64, d time.Duration) string { return fileName(testCluster, number, now.Add(-d)) }
	for name, tc := range map[string]struct {
		files []string
		empty string
		want  time.Duration
	}{
		"none":                           {},
		"one":                            {files: []string{ago(1, 10*time.Minute)}, want: 50 * time.Minute},
		"one that is overdue":            {files: []string{ago(1, 61*time.Minute)}},
		"the newest by number":           {files: []string{ago(1, 10*time.Minute), ago(2, 20*time.Minute)}, want: 40 * time.Minute},
		"of another cluster":             {files: []string{fileName("ffffffff", 3, now)}},
		"of an earlier version":          {files: []string{"kubembed-20260102T030405.000Z.tar"}},
		"from the future":                {files: []string{ago(1, -time.Hour)}},
		"from the future, and corrected": {files: []string{ago(1, -time.Hour), ago(2, 10*time.Minute)}, want: 50 * time.Minute},
		"of a clock that is fast":        {files: []string{ago(1, -time.Second)}, want: time.Hour},
		"the newest is empty":            {files: []string{ago(1, 10*time.Minute)}, empty: ago(2, 0), want: 50 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			s := scheduleOn(t, &disk{size: 300 << 20}, 0, nil)
			s.Clock = clocktesting.NewFakeClock(now)
			for _, file := range tc.files {
				if err := os.WriteFile(filepath.Join(s.Dir, file), []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if tc.empty != "" {
				if err := os.WriteFile(filepath.Join(s.Dir, tc.empty), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.lookUntilDue(t.Context()); got != tc.want {
				t.Errorf("the next is due in %v, want %v", got, tc.want)
			}
		})
	}
}

// TestSnapshotOfAnotherProcessIsLeft while that writes it.
func TestSnapshotOfAnotherProcessIsLeft(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, fileName(testCluster, 1, time.Now()))
	s := scheduleOn(t, &disk{size: 300 << 20}, 0, nil)
	tidied := func() []string {
		found, err := readDir(dir, testCluster)
		if err == nil {
			err = found.tidy()
		}
		if err != nil {
			t.Fatal(err)
		}
		return found.unfinished
	}
	s.Dir, s.Write = dir, func(_ context.Context, w io.Writer) error {
		if n := tidied(); len(n) != 1 {
			t.Errorf("unfinished: %v, want the one that is being written", n)
		}
		_, err := w.Write([]byte("x"))
		return err
	}
	if err := s.write(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+unfinishedSuffix); err != nil {
		t.Fatal(err)
	}
	tidied()
	if left := names(t, dir); left != "" {
		t.Errorf("left: %s", left)
	}
}
