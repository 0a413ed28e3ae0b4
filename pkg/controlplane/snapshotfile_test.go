// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// TestTakeSnapshot: at any time, from several goroutines, without an interval.
func TestTakeSnapshot(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "snapshots")
	server := start(t, controlplane.Config{Snapshots: controlplane.Snapshots{Dir: dir, Keep: 2}})
	if list, err := controlplane.ListSnapshots(dir); err != nil || len(list) > 0 {
		t.Errorf("ListSnapshots: %v, %v, want none", list, err)
	}
	first, err := server.TakeSnapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(first.Path)
	if err != nil || info.Size() != first.Size || first.Number != 1 || first.Cluster != clusterOf(t, server) || time.Since(first.Time) > time.Minute {
		t.Errorf("TakeSnapshot: got %+v and the file %v, %v, want number 1 of this cluster with the size of the file", first, info, err)
	}
	putConfigMap(t, admin(t, server), "kept", "x")
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			if _, err := server.TakeSnapshot(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	list, err := controlplane.ListSnapshots(dir)
	if err != nil || len(list) != 2 || list[0].Number != 5 || list[1].Number != 4 {
		t.Fatalf("ListSnapshots: %+v, %v, want the numbers 5 and 4", list, err)
	}
	if all := entries(t, dir); len(all) != 2 {
		t.Errorf("files: got %v, want 2", all)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if file, err := server.TakeSnapshot(cancelled); !errors.Is(err, context.Canceled) || file.Path != "" {
		t.Errorf("with a context that has ended: got %+v, %v, want context.Canceled and no file", file, err)
	}
	closeServer(t, server)
	if file, err := server.TakeSnapshot(t.Context()); !errors.Is(err, etcd.ErrClosed) || file.Path != "" {
		t.Errorf("after Close: %+v, %v, want ErrClosed", file, err)
	}
	if all := entries(t, dir); len(all) != 2 {
		t.Errorf("files: got %v, want 2", all)
	}

	file, err := os.Open(list[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	data := filepath.Join(t.TempDir(), "data")
	if err := controlplane.Restore(t.Context(), data, file, controlplane.RestoreConfig{}); err != nil {
		t.Fatal(err)
	}
	server = start(t, controlplane.Config{DataDir: data})
	wantConfigMap(t, server, "kept", "x")
	// The default directory.
	taken, err := server.TakeSnapshot(t.Context())
	if err != nil || filepath.Dir(taken.Path) != filepath.Join(data, "snapshots") || taken.Cluster != first.Cluster {
		t.Errorf("without Dir: got %+v, %v, want one of the same cluster in DataDir", taken, err)
	}

	// The file has been read to its end.
	err = controlplane.Restore(t.Context(), filepath.Join(t.TempDir(), "data"), file, controlplane.RestoreConfig{})
	if err == nil || errors.Is(err, etcd.ErrCorrupt) || lacks(err.Error(), "offset", "rewind it with Seek(0, io.SeekStart)") != "" {
		t.Errorf("a file that was not rewound: got %v, want the offset and the cure", err)
	}
}

func TestTakeSnapshotWithoutADirectory(t *testing.T) {
	t.Parallel()
	server := start(t, controlplane.Config{})
	if _, err := server.TakeSnapshot(t.Context()); err == nil || lacks(err.Error(), "Config.Snapshots.Dir", "DataDir", "WriteSnapshot") != "" {
		t.Errorf("error %v, want one about Config.Snapshots.Dir", err)
	}
	testWriteSnapshot(t, server)
}

// testWriteSnapshot checks that WriteSnapshot leaves only the files.
func testWriteSnapshot(t *testing.T, server *controlplane.Server) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.tar")
	// Of a killed process, and of others.
	for _, name := range []string{"a.tar.0123456789abcdef.unfinished", "a.tar.old", "a.tar.0123456789abcdeg.unfinished", "b.tar.0123456789abcdef.unfinished"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	others := []string{"a.tar.old", "a.tar.0123456789abcdeg.unfinished", "b.tar.0123456789abcdef.unfinished"}
	if err := os.WriteFile(path, []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	kept := func(what string) {
		t.Helper()
		wantEntries(t, dir, append([]string{"a.tar"}, others...)...)
		if data, err := os.ReadFile(path); err != nil || string(data) != "before" {
			t.Errorf("%s: the file has %d bytes (%v), want its old content", what, len(data), err)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := server.WriteSnapshot(cancelled, path); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: got %v, want context.Canceled", err)
	}
	others = append(others, "a.tar.0123456789abcdef.unfinished") // not looked at yet
	if _, err := os.Stat(filepath.Join(dir, "a.tar.0123456789abcdef.unfinished")); err != nil {
		others = others[:3]
	}
	kept("cancelled")
	others = others[:3]
	for what, tc := range map[string]struct{ path, want string }{
		"no path":         {"", "path is empty"},
		"a directory":     {dir, "is a directory"},
		"no directory":    {filepath.Join(dir, "missing", "a.tar"), "missing"},
		"a device":        {os.DevNull, "not a regular file"},
		"below a file":    {filepath.Join(path, "a.tar"), "a.tar"},
		"a name too long": {filepath.Join(dir, strings.Repeat("x", 250)), "xxx"},
	} {
		if err := server.WriteSnapshot(t.Context(), tc.path); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want one that says %q", what, err, tc.want)
		}
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Fatalf("%s: got %v, %v, want it not replaced", os.DevNull, info, err)
	}
	if err := os.Symlink("a.tar", filepath.Join(dir, "link")); err != nil {
		t.Skip(err) // as on Windows
	}
	others = append(others, "link")
	if err := server.WriteSnapshot(t.Context(), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, dir, append([]string{"a.tar"}, others...)...)
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the snapshot: %v, %v, want mode 0600", info, err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if err := controlplane.Restore(t.Context(), filepath.Join(t.TempDir(), "data"), file, controlplane.RestoreConfig{}); err != nil {
		t.Error(err)
	}
	closeServer(t, server)
	if err := server.WriteSnapshot(t.Context(), path); !errors.Is(err, etcd.ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
	wantEntries(t, dir, append([]string{"a.tar"}, others...)...)
}

func TestListSnapshotsOfMissingDirectory(t *testing.T) {
	if _, err := controlplane.ListSnapshots(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want ErrNotExist", err)
	}
	if _, err := controlplane.ListSnapshots(""); err == nil {
		t.Error("ListSnapshots of no directory: got no error, want one")
	}
}

// TestListSnapshots: snapshots in their order, and no other files.
func TestListSnapshots(t *testing.T) {
	dir := t.TempDir()
	want := []string{
		"kubembed-0a0b0c0d-0000000003-20250102T030405.000Z.tar", // the clock was corrected
		"kubembed-0a0b0c0d-0000000002-20400102T030405.000Z.tar",
		"kubembed-ffffffff-0000000009-20241231T000000.000Z.tar",
		"kubembed-0a0b0c0d-0000000001-20230102T030405.000Z.tar",
		"kubembed-20500102T030405.000Z.tar",
		"kubembed-20240102T030405.000Z.tar",
	}
	for _, name := range append([]string{"kubembed-mine.tar", "kubembed-0a0b0c0d-0000000004-20250102T030405.000Z.tar.unfinished"}, want...) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("xx"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "kubembed-0a0b0c0d-0000000005-20250102T030405.000Z.tar"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := controlplane.ListSnapshots(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, file := range list {
		got = append(got, filepath.Base(file.Path))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("there are\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if f := list[0]; f.Cluster != "0a0b0c0d" || f.Number != 3 || f.Size != 2 || !f.Time.Equal(time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)) || !filepath.IsAbs(f.Path) {
		t.Errorf("the first: got %+v, want number 3 of cluster 0a0b0c0d with 2 bytes", f)
	}
}

// TestTwoControlPlanesShareADirectoryOfSnapshots: each deletes its own only.
func TestTwoControlPlanesShareADirectoryOfSnapshots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	taken := map[string]int{}
	for range 2 {
		server := start(t, controlplane.Config{Snapshots: controlplane.Snapshots{Dir: dir, Keep: 2}})
		for range 3 {
			file, err := server.TakeSnapshot(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			taken[file.Cluster]++
		}
		closeServer(t, server)
	}
	list, err := controlplane.ListSnapshots(dir)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string][]int{}
	for _, file := range list {
		kept[file.Cluster] = append(kept[file.Cluster], file.Number)
	}
	for cluster, n := range taken {
		if n != 3 || len(taken) != 2 || !slices.Equal(kept[cluster], []int{3, 2}) {
			t.Errorf("%s: %d were taken, and %v are kept, want the last two of three", cluster, n, kept[cluster])
		}
	}
}
