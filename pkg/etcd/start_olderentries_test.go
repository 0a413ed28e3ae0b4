// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"github.com/kubembed/kubembed/pkg/etcd"
)

// TestRequestsOfAnOlderEtcd: up to 3.5, etcd wrote some requests in the form of its
// second API. etcd 3.7 panics when it applies one, in a goroutine of its own.
func TestRequestsOfAnOlderEtcd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	m := start(t, etcd.Config{Dir: dir, Ephemeral: true})
	put(t, m.Client(), "k", "v")
	closeMember(t, m)
	lg := zap.NewNop()
	snapshots, err := wal.ValidSnapshotEntries(lg, datadir.ToWALDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	w, err := wal.Open(lg, datadir.ToWALDir(dir), snapshots[len(snapshots)-1])
	if err != nil {
		t.Fatal(err)
	}
	_, state, entries, err := w.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	last := entries[len(entries)-1]
	// ID 1, method PUT, and a path.
	request := "\x08\x01\x12\x03PUT\x1a\x1c/0/members/1/attributes-here"
	state.Commit = new(last.GetIndex() + 1)
	if err := w.Save(state, []*raftpb.Entry{{Type: raftpb.EntryNormal.Enum(), Term: new(last.GetTerm()), Index: new(last.GetIndex() + 1), Data: []byte(request)}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := etcd.Start(t.Context(), etcd.Config{Dir: dir})
	if err == nil {
		closeMember(t, again)
	}
	if err == nil || !strings.Contains(err.Error(), "etcd 3.6 on it once with --snapshot-count=1") {
		t.Errorf("start: got %v", err)
	}
}
