// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/kubembed/kubembed/pkg/etcd"
)

// TestRestoreDrops: a restore leaves out keys by their last value, also from a snapshot
// of a restored database.
func TestRestoreDrops(t *testing.T) {
	m := memberWith(t, 100)
	put := func(key, value string, opts ...clientv3.OpOption) {
		t.Helper()
		if _, err := m.Client().Put(t.Context(), key, value, opts...); err != nil {
			t.Fatal(err)
		}
	}
	lease, err := m.Client().Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	put("bad-leased", "drop", clientv3.WithLease(lease.ID))
	put("bad-new", "drop")
	put("bad-then-good", "drop")
	put("bad-then-good", "keep")
	put("good-then-bad", "keep")
	put("good-then-bad", "drop")
	put("deleted", "drop")
	if _, err := m.Client().Delete(t.Context(), "deleted"); err != nil {
		t.Fatal(err)
	}
	put("deleted-and-back", "drop")
	if _, err := m.Client().Delete(t.Context(), "deleted-and-back"); err != nil {
		t.Fatal(err)
	}
	put("deleted-and-back", "drop")
	snapshot := func(m *etcd.Member) *bytes.Buffer {
		t.Helper()
		var b bytes.Buffer
		if _, err := m.Snapshot(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		return &b
	}
	var dropped []string
	cfg := etcd.RestoreConfig{
		Drop:    func(_, value []byte) bool { return string(value) == "drop" },
		Dropped: func(key []byte) { dropped = append(dropped, string(key)) },
	}
	restore := func(from *bytes.Buffer, want ...string) *etcd.Member {
		t.Helper()
		dropped = nil
		cfg.Dir = filepath.Join(t.TempDir(), "etcd")
		if err := etcd.RestoreSnapshot(t.Context(), cfg, from); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(dropped, want) {
			t.Errorf("dropped %q, want %q", dropped, want)
		}
		m, err := etcd.Start(t.Context(), etcd.Config{Dir: cfg.Dir, Ephemeral: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		all, err := m.Client().Get(t.Context(), "", clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		if all.Count != 101 {
			t.Errorf("%d keys, want 101", all.Count)
		}
		for _, kv := range all.Kvs {
			if string(kv.Value) == "drop" || !strings.HasPrefix(string(kv.Key), "key-") && string(kv.Key) != "bad-then-good" {
				t.Errorf("%s is back", kv.Key)
			}
		}
		return m
	}
	m = restore(snapshot(m), "bad-leased", "bad-new", "deleted-and-back", "good-then-bad")
	put("bad-again", "drop")
	m = restore(snapshot(m), "bad-again")
	// A dropped key can be created like any other.
	put("bad-again", "keep")
	if got, err := m.Client().Get(t.Context(), "bad-again"); err != nil || got.Count != 1 || got.Kvs[0].Version != 1 {
		t.Errorf("%v, %v", got, err)
	}
}
