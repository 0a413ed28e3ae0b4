// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package checkpoint_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/kubembed/kubembed/internal/checkpoint"
	"github.com/kubembed/kubembed/internal/lifecycle/leaks"
	"github.com/kubembed/kubembed/pkg/etcd"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, leaks.Ignored()...)
}

func start(t *testing.T) *clientv3.Client {
	t.Helper()
	member, err := etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(t.TempDir(), "etcd"), Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := member.Close(); err != nil {
			t.Error(err)
		}
	})
	return member.Client()
}

func put(t *testing.T, client *clientv3.Client, keysAndValues ...string) {
	t.Helper()
	for i := 0; i < len(keysAndValues); i += 2 {
		if _, err := client.Put(t.Context(), keysAndValues[i], keysAndValues[i+1]); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, client *clientv3.Client, key string) {
	t.Helper()
	if _, err := client.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

func take(t *testing.T, client *clientv3.Client) *checkpoint.Checkpoint {
	t.Helper()
	c, err := checkpoint.Take(t.Context(), client, "/p/")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func differences(t *testing.T, c *checkpoint.Checkpoint) []checkpoint.Difference {
	t.Helper()
	found, err := c.Differences(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestUndo(t *testing.T) {
	client := start(t)
	put(t, client, "/p/changed", "1", "/p/gone", "1", "/p/kept", "1", "/p/replaced", "1", "/p/same", "1", "/other", "1")
	c := take(t, client)
	put(t, client, "/p/changed", "2", "/p/new", "2", "/p/same", "2", "/p/same", "1", "/other", "2")
	remove(t, client, "/p/gone")
	remove(t, client, "/p/replaced")
	put(t, client, "/p/replaced", "2")

	found := differences(t, c)
	want := []checkpoint.Difference{{Key: "/p/changed"}, {Key: "/p/gone", Gone: true}, {Key: "/p/new", New: true}, {Key: "/p/replaced", Replaced: true}}
	if !slices.Equal(found, want) {
		t.Fatalf("differences: got %v, want %v", found, want)
	}
	undone, err := c.Undo(t.Context(), found)
	if err != nil {
		t.Fatal(err)
	}
	revisions := map[int64]bool{}
	for _, u := range undone {
		if revisions[u.Revision] {
			t.Errorf("two keys were written at revision %d", u.Revision)
		}
		revisions[u.Revision] = true
	}
	if found := differences(t, c); len(found) > 0 || len(undone) != len(want) {
		t.Errorf("differences after %v: %v", undone, found)
	}
	got, err := client.Get(t.Context(), "/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	var all string
	for _, kv := range got.Kvs {
		all += fmt.Sprintf("%s=%s ", kv.Key, kv.Value)
	}
	if want := "/other=2 /p/changed=1 /p/gone=1 /p/kept=1 /p/replaced=1 /p/same=1 "; all != want {
		t.Errorf("stored: got %s, want %s", all, want)
	}
}

// TestManyKeys: there may be more keys than in one read.
func TestManyKeys(t *testing.T) {
	client := start(t)
	const many = 10_050
	for i := 0; i < many; i += etcd.MaxTxnOps {
		var ops []clientv3.Op
		for j := i; j < min(many, i+etcd.MaxTxnOps); j++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("/p/%05d", j), "1"))
		}
		if _, err := client.Txn(t.Context()).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
	c := take(t, client)
	remove(t, client, "/p/10049")
	remove(t, client, "/p/00000")
	if found := differences(t, c); len(found) != 2 {
		t.Errorf("differences: %v", found)
	}
}

func TestAdopt(t *testing.T) {
	client := start(t)
	c := take(t, client)
	put(t, client, "/p/a", "1", "/p/a", "2", "/p/b", "1")
	remove(t, client, "/p/b")
	// The first value counts, even if it has been compacted.
	c.AdoptFirst(t.Context(), []string{"/p/b"})
	if err := c.Adopt(t.Context(), "/p/a"); err != nil {
		t.Fatal(err)
	}
	if err := c.Adopt(t.Context(), "/p/nothing"); err != nil {
		t.Fatal(err)
	}
	want := []checkpoint.Difference{{Key: "/p/a"}, {Key: "/p/b", Gone: true}}
	if found := differences(t, c); !slices.Equal(found, want) {
		t.Errorf("differences: got %v, want %v", found, want)
	}
	accepted, err := c.Accept(t.Context(), "/p/a", func(was, is []byte) bool { return string(was) == "1" && string(is) == "2" })
	if err != nil || !accepted {
		t.Fatalf("accepted %v: %v", accepted, err)
	}
	if found := differences(t, c); !slices.Equal(found, want[1:]) {
		t.Errorf("differences: got %v, want %v", found, want[1:])
	}
}
