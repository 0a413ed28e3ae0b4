// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package walcheck

import (
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/pkg/v3/pbutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// FuzzCheckEnd checks the end of logs with arbitrary bytes: it returns, with or without
// an error, and finds no damage in a log that etcd has written.
func FuzzCheckEnd(f *testing.F) {
	before := wal.SegmentSizeBytes
	wal.SegmentSizeBytes = 64 << 10
	f.Cleanup(func() { wal.SegmentSizeBytes = before })
	dir := filepath.Join(f.TempDir(), "wal")
	w, err := wal.Create(zap.NewNop(), dir, []byte("metadata"))
	if err != nil {
		f.Fatal(err)
	}
	state := &raftpb.HardState{Term: new(uint64(1)), Vote: new(uint64(1)), Commit: new(uint64(1))}
	entry := &raftpb.Entry{Term: new(uint64(1)), Index: new(uint64(1)), Data: pbutil.MustMarshalMessage(state)}
	if err := w.Save(state, []*raftpb.Entry{entry}); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	if err := CheckEnd(dir, 1, true); err != nil {
		f.Errorf("a log of etcd: got %v", err)
	}
	name := filepath.Join(dir, "0000000000000000-0000000000000000.wal")
	whole, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, true)
	f.Add(whole[:300], false)
	f.Add(whole[100:], true)
	f.Add([]byte{}, true)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, false)
	f.Fuzz(func(t *testing.T, log []byte, standalone bool) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), log, 0o600); err != nil {
			t.Fatal(err)
		}
		_ = CheckEnd(dir, 1, standalone)
	})
}
