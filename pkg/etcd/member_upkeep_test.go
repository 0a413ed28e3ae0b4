// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// fillUp writes until the member refuses a write, and returns the number of accepted
// writes. etcd stores the write that reaches the quota, and still returns an error.
func fillUp(t *testing.T, m *etcd.Member) (n int) {
	t.Helper()
	value := strings.Repeat("x", 10_000)
	for {
		_, err := m.Client().Put(t.Context(), fmt.Sprintf("fill-%06d", n), value)
		if errors.Is(err, rpctypes.ErrNoSpace) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
}

func TestQuotaIsReachedAndLeft(t *testing.T) {
	dir := t.TempDir()
	m, err := etcd.Start(t.Context(), etcd.Config{Dir: dir, Ephemeral: true, QuotaBytes: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	if err := m.CheckSpace(); err != nil {
		t.Errorf("a new member: %v", err)
	}
	for range 2 {
		n := fillUp(t, m)
		if n == 0 {
			t.Fatal("nothing could be written")
		}
		err = m.CheckSpace()
		if err == nil || !strings.Contains(err.Error(), "QuotaBytes") {
			t.Errorf("CheckSpace: got %v", err)
		}
		if alarms := m.Status().Alarms; len(alarms) != 1 || alarms[0] != "NOSPACE" {
			t.Errorf("alarms %v", alarms)
		}
		if r, err := m.Client().Get(t.Context(), "fill-", clientv3.WithPrefix(), clientv3.WithCountOnly()); err != nil || r.Count < int64(n) || r.Count > int64(n+1) {
			t.Errorf("%v keys of %d can be read, %v", r, n, err)
		}
		if _, err := m.Client().Delete(t.Context(), "fill-", clientv3.WithPrefix()); err != nil {
			t.Fatalf("a delete: %v", err)
		}
		testwait.True(t, "space below the quota", func() bool { return m.CheckSpace() == nil })
		// Not smaller: the compaction may still run when the file is defragmented.
		if s := m.Status(); s.SizeBytes > s.QuotaBytes*9/10 {
			t.Errorf("the file has %d bytes still", s.SizeBytes)
		}
	}
	// The same after a restart under the alarm.
	fillUp(t, m)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m, err = etcd.Start(t.Context(), etcd.Config{Dir: dir, Ephemeral: true, QuotaBytes: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	testwait.True(t, "the larger quota is known", func() bool { return m.CheckSpace() == nil })
	if _, err := m.Client().Put(t.Context(), "a", "b"); err != nil {
		t.Error(err)
	}
}

func TestFragmentedDatabaseShrinksAtStart(t *testing.T) {
	dir := t.TempDir()
	m, err := etcd.Start(t.Context(), etcd.Config{Dir: dir, Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("x", 1_000_000)
	for i := range 80 {
		if _, err := m.Client().Put(t.Context(), fmt.Sprintf("fill-%06d", i), value); err != nil {
			t.Fatal(err)
		}
	}
	r, err := m.Client().Delete(t.Context(), "fill-", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Client().Compact(t.Context(), r.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	before := m.Status().SizeBytes
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m, err = etcd.Start(t.Context(), etcd.Config{Dir: dir, Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	if after := m.Status().SizeBytes; after > before/10 {
		t.Errorf("the file has %d bytes, and had %d before the start", after, before)
	}
}

// TestDiskFillsUp: etcd exits when it cannot persist an acknowledged write.
func TestDiskFillsUp(t *testing.T) {
	m := memberWith(t, 1)
	const spare, deleting = 64 << 20, 32 << 20
	m.SetFree(spare - 1)
	if _, err := m.Client().Put(t.Context(), "a", "b"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a put: %v", err)
	}
	if _, err := dialled(t, m).Put(t.Context(), "a", "b"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a put of a client that dials: %v", err)
	}
	create := m.Client().Txn(t.Context()).Then(clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("a", "b")}, nil))
	if _, err := create.Commit(); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a put in a transaction: %v", err)
	}
	err := m.CheckSpace()
	if !errors.Is(err, etcd.ErrNoSpace) || !strings.Contains(err.Error(), fmt.Sprint(spare-1)) || !strings.Contains(err.Error(), fmt.Sprint(spare)) {
		t.Errorf("CheckSpace: got %v", err)
	}
	if r, err := m.Client().Get(t.Context(), "key-0000"); err != nil || r.Count != 1 {
		t.Errorf("a read: %v, %v", r, err)
	}
	if _, err := m.Client().Txn(t.Context()).Then(clientv3.OpDelete("key-0000")).Commit(); err != nil {
		t.Errorf("a delete, with room for it: %v", err)
	}
	m.SetFree(deleting - 1)
	if _, err := m.Client().Delete(t.Context(), "a"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a delete: %v", err)
	}
	if r, err := m.Client().Txn(t.Context()).Then(clientv3.OpGet("a")).Commit(); err != nil || !r.Succeeded {
		t.Errorf("a transaction that reads: %v", err)
	}
	m.SetFree(spare)
	if _, err := m.Client().Put(t.Context(), "a", "b"); err != nil {
		t.Errorf("a put, with room again: %v", err)
	}
	if err := m.CheckSpace(); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
