// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubembed/kubembed/pkg/etcd"
)

// TestKilledWhileSentADatabase: a follower that lags far behind receives the leader's
// database. If it is killed after the snapshot is recorded and before its own database is
// replaced, it continues with the received one.
func TestKilledWhileSentADatabase(t *testing.T) {
	dir := t.TempDir()
	member, err := etcd.Start(t.Context(), etcd.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := member.Close(); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(dir, "member", "snap", "db")
	old, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	if member, err = etcd.Start(t.Context(), etcd.Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	for i := range 1100 { // one more snapshot
		if _, err := member.Client().Put(t.Context(), "k", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := member.Close(); err != nil {
		t.Fatal(err)
	}
	snapshots, err := filepath.Glob(filepath.Join(dir, "member", "snap", "*.snap"))
	if err != nil || len(snapshots) == 0 {
		t.Fatalf("no snapshot: %v", err)
	}
	newest := filepath.Base(snapshots[len(snapshots)-1])
	index := strings.TrimSuffix(newest[strings.IndexByte(newest, '-')+1:], ".snap")
	sent := filepath.Join(dir, "member", "snap", index+".snap.db")
	if err := os.Rename(db, sent); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(db, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if member, err = etcd.Start(context.Background(), etcd.Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	wantValue(t, member.Client(), "k", "1099")
}
