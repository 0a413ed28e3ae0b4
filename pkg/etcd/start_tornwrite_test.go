// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/kubembed/kubembed/internal/etcd/walcheck"
	"github.com/kubembed/kubembed/pkg/etcd"
)

const (
	tornWrites = 50
	tornSize   = 10 << 10 // of the last write, which is many sectors
	sector     = 512
)

// tornFill writes, the last time a large value, and waits to be killed.
func tornFill(dir string) error {
	wal.SegmentSizeBytes = damageSegment
	ctx := context.Background()
	m, err := etcd.Start(ctx, etcd.Config{Dir: dir})
	if err != nil {
		return err
	}
	for i := range tornWrites {
		if _, err := m.Client().Put(ctx, fmt.Sprint("key", i), strings.Repeat("value", 100)); err != nil {
			return err
		}
	}
	if _, err := m.Client().Put(ctx, "last", strings.Repeat("z", tornSize)); err != nil {
		return err
	}
	fmt.Println("acknowledged")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// TestTornWrite leaves a log as a power cut in the middle of the last write does: a start
// must not take it for damage, and no earlier write may be missing.
func TestTornWrite(t *testing.T) {
	origin := t.TempDir()
	path, end := tornLog(t, origin)
	begin := end - tornSize + sector // in the record
	for name, tear := range map[string]func(t *testing.T, path string){
		"the end is missing":       func(t *testing.T, path string) { zero(t, path, begin+tornSize/2, end) },
		"the beginning is":         func(t *testing.T, path string) { zero(t, path, begin-2*sector, begin+sector) },
		"a sector in the middle":   func(t *testing.T, path string) { zero(t, path, begin+8*sector, begin+9*sector) },
		"every second sector":      func(t *testing.T, path string) { everySecond(t, path, begin, end) },
		"only the end is there":    func(t *testing.T, path string) { zero(t, path, begin-2*sector, end-sector) },
		"it is missing as a whole": func(t *testing.T, path string) { zero(t, path, begin-2*sector, end) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(dir, os.DirFS(origin)); err != nil {
				t.Fatal(err)
			}
			private(t, dir)
			tear(t, filepath.Join(dir, path))
			for range 2 { // also after etcd's repair
				m := start(t, etcd.Config{Dir: dir})
				// The previous write may share a sector with the last.
				for i := range tornWrites - 1 {
					if got := get(t, m.Client(), fmt.Sprint("key", i)); !strings.HasPrefix(got, "value") {
						t.Errorf("key%d is %q", i, got)
					}
				}
				put(t, m.Client(), "after", "the repair")
				closeMember(t, m)
			}
		})
	}
}

// TestLogEndOfCluster: a member of a cluster may record an entry and its commit together,
// so damage shows only by the entry after it.
func TestLogEndOfCluster(t *testing.T) {
	dir := t.TempDir()
	path, end := tornLog(t, dir)
	path = filepath.Join(dir, path)
	check := func(standalone bool) error {
		return walcheck.CheckEnd(filepath.Dir(path), lastEntry(t, path), standalone)
	}
	for _, standalone := range []bool{true, false} {
		if err := check(standalone); err != nil {
			t.Errorf("before, standalone %t: %v", standalone, err)
		}
	}
	zero(t, path, end/2, end/2+sector)
	for _, standalone := range []bool{true, false} {
		err := check(standalone)
		if err == nil || !strings.Contains(err.Error(), "further entries had been stored") {
			t.Errorf("after, standalone %t: %v", standalone, err)
		}
	}
}

// tornLog runs tornFill on dir, and returns the path of the log relative to dir and its
// used size.
func tornLog(t *testing.T, dir string) (path string, end int64) {
	t.Helper()
	smallSegments(t)
	cmd, line := child(t, "torn", dir)
	if line != "acknowledged" {
		t.Fatal(line)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	path = glob(t, dir, "wal", "*.wal")[0]
	data, err := os.ReadFile(filepath.Join(dir, path))
	if err != nil {
		t.Fatal(err)
	}
	return path, int64(len(strings.TrimRight(string(data), "\x00")))
}

// zero overwrites whole sectors.
func zero(t *testing.T, path string, from, to int64) {
	t.Helper()
	from = (from + sector - 1) / sector * sector
	edit(t, path, from, (to+sector-1)/sector*sector-from, func(byte) byte { return 0 })
}

func everySecond(t *testing.T, path string, from, to int64) {
	t.Helper()
	for ; from < to; from += 2 * sector {
		zero(t, path, from, from+1)
	}
}

// lastEntry is the index of the last entry that can be read.
func lastEntry(t *testing.T, path string) (last uint64) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	decoder := wal.NewDecoder(fileutil.NewFileReader(file))
	var rec walpb.Record
	for {
		if err := decoder.Decode(&rec); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatal(err)
			}
			return last
		}
		switch rec.GetType() {
		case wal.CrcType:
			decoder.UpdateCRC(rec.GetCrc())
		case wal.EntryType:
			var e raftpb.Entry
			if err := proto.Unmarshal(rec.GetData(), &e); err != nil {
				t.Fatal(err)
			}
			last = e.GetIndex()
		}
	}
}
