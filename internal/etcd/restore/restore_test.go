// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package restore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/etcd/errdefs"
	"github.com/kubembed/kubembed/internal/etcd/memberdir"
	"github.com/kubembed/kubembed/internal/etcd/restore"
)

// snapshot returns a snapshot with a value for each key, written by etcd's own storage.
func snapshot(t *testing.T, values map[string]string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db := backend.NewDefaultBackend(zap.NewNop(), path)
	tx := db.BatchTx()
	tx.LockOutsideApply()
	schema.UnsafeCreateMetaBucket(tx)
	tx.Unlock()
	store := mvcc.NewStore(zap.NewNop(), db, &lease.FakeLessor{}, mvcc.StoreConfig{})
	for key, value := range values {
		store.Put([]byte(key), []byte(value), lease.NoLease)
	}
	store.Commit()
	if err := errors.Join(store.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return append(data, sum[:]...)
}

// values returns the values in a data directory.
func values(t *testing.T, dir string) map[string]string {
	t.Helper()
	db := backend.NewDefaultBackend(zap.NewNop(), filepath.Join(dir, "member", "snap", "db"))
	defer func() { _ = db.Close() }()
	store := mvcc.NewStore(zap.NewNop(), db, &lease.FakeLessor{}, mvcc.StoreConfig{})
	defer func() { _ = store.Close() }()
	all, err := store.Range(t.Context(), []byte{0}, []byte{0xff}, mvcc.RangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, kv := range all.KVs {
		found[string(kv.Key)] = string(kv.Value)
	}
	return found
}

func begin(t *testing.T, cfg restore.Config) *restore.Restore {
	t.Helper()
	r, err := restore.Begin(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Abort)
	return r
}

// prepare takes a restore up to its Commit.
func prepare(t *testing.T, r *restore.Restore, snapshot []byte) {
	t.Helper()
	if err := errors.Join(r.Receive(t.Context(), bytes.NewReader(snapshot)), r.Prepare(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func TestConfigValidate(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  restore.Config
		want []string // in the error; none if valid
	}{
		"standalone":    {restore.Config{Dir: "x"}, nil},
		"of a cluster":  {restore.Config{Dir: "x", Name: "a", PeerURL: "https://10.0.0.1:2380"}, nil},
		"no directory":  {restore.Config{}, []string{"RestoreConfig.Dir: required"}},
		"only a name":   {restore.Config{Dir: "x", Name: "a"}, []string{"RestoreConfig.Name and RestoreConfig.PeerURL"}},
		"only a URL":    {restore.Config{Dir: "x", PeerURL: "https://10.0.0.1:2380"}, []string{"RestoreConfig.Name and RestoreConfig.PeerURL"}},
		"no scheme":     {restore.Config{Dir: "x", Name: "a", PeerURL: "10.0.0.1:2380"}, []string{"RestoreConfig.PeerURL: "}},
		"no port":       {restore.Config{Dir: "x", Name: "a", PeerURL: "https://10.0.0.1"}, []string{"RestoreConfig.PeerURL: "}},
		"every problem": {restore.Config{PeerURL: "x"}, []string{"RestoreConfig.Dir: ", "RestoreConfig.Name and ", "RestoreConfig.PeerURL: "}},
	} {
		err := c.cfg.Validate()
		if (err != nil) != (len(c.want) > 0) {
			t.Errorf("%s: got %v", name, err)
		}
		for _, text := range c.want {
			if err != nil && !strings.Contains(err.Error(), text) {
				t.Errorf("%s: got %v, want %q in it", name, err, text)
			}
		}
	}
	if _, err := restore.Begin(restore.Config{}); err == nil || !strings.Contains(err.Error(), "RestoreConfig.Dir") {
		t.Errorf("Begin: %v", err)
	}
}

// TestCommit: until Commit no start accepts the directory, and after it the data is
// there.
func TestCommit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "etcd")
	var dropped []string
	r := begin(t, restore.Config{
		Dir:     dir,
		Drop:    func(_, value []byte) bool { return string(value) == "drop" },
		Dropped: func(key []byte) { dropped = append(dropped, string(key)) },
	})
	prepare(t, r, snapshot(t, map[string]string{"a": "keep", "b": "drop", "c": "keep", "d": "drop"}))
	if err := restore.CheckFinished(dir); !errors.Is(err, errdefs.ErrCorrupt) {
		t.Errorf("before Commit: got %v, want %v", err, errdefs.ErrCorrupt)
	}
	if memberdir.HasData(dir) {
		t.Error("there is data before Commit")
	}
	if err := r.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Abort()
	if err := restore.CheckFinished(dir); err != nil {
		t.Error(err)
	}
	if got := values(t, dir); len(got) != 2 || got["a"] != "keep" || got["c"] != "keep" {
		t.Errorf("restored %v, want a and c", got)
	}
	if !slices.Equal(dropped, []string{"b", "d"}) {
		t.Errorf("dropped %q, want b and d", dropped)
	}
	if _, err := restore.Begin(restore.Config{Dir: dir}); !errors.Is(err, errdefs.ErrHasData) {
		t.Errorf("a second restore: got %v, want %v", err, errdefs.ErrHasData)
	}
	if got := values(t, dir); len(got) != 2 {
		t.Errorf("after it: %v", got)
	}
}

// TestFailedRestore: a restore that ends in any phase leaves an empty directory.
func TestFailedRestore(t *testing.T) {
	whole := snapshot(t, map[string]string{"a": "1"})
	broken := errors.New("the disk has come off")
	for name, c := range map[string]struct {
		attempt func(r *restore.Restore) error
		want    error
	}{
		"read": {func(r *restore.Restore) error {
			return r.Receive(t.Context(), io.MultiReader(bytes.NewReader(whole[:5000]), iotest.ErrReader(broken)))
		}, broken},
		"aborted": {func(r *restore.Restore) error {
			prepare(t, r, whole)
			return nil
		}, nil},
		"cancelled": {func(r *restore.Restore) error {
			prepare(t, r, whole)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return r.Commit(ctx)
		}, context.Canceled},
		"truncated": {func(r *restore.Restore) error {
			return errors.Join(r.Receive(t.Context(), bytes.NewReader(whole[:5000])), r.Prepare(t.Context()))
		}, errdefs.ErrCorrupt},
		"received twice": {func(r *restore.Restore) error {
			return errors.Join(r.Receive(t.Context(), bytes.NewReader(whole)), r.Receive(t.Context(), bytes.NewReader(whole)))
		}, os.ErrExist},
		"prepared without a snapshot": {func(r *restore.Restore) error { return r.Prepare(t.Context()) }, os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() // exists, and stays
			r := begin(t, restore.Config{Dir: dir})
			if _, err := restore.Begin(restore.Config{Dir: dir}); !errors.Is(err, errdefs.ErrInUse) {
				t.Errorf("another restore beside it: got %v, want %v", err, errdefs.ErrInUse)
			}
			if err := c.attempt(r); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			r.Abort()
			r.Abort()
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("left: %v, %v", entries, err)
			}
		})
	}
}

// TestCancelledPrepare: a check that was interrupted says nothing about the snapshot.
func TestCancelledPrepare(t *testing.T) {
	many := map[string]string{}
	for i := range 5000 {
		many[fmt.Sprint(i)] = "x"
	}
	r := begin(t, restore.Config{Dir: t.TempDir()})
	if err := r.Receive(t.Context(), bytes.NewReader(snapshot(t, many))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Prepare(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, errdefs.ErrCorrupt) {
		t.Errorf("got %v, want %v and no damage", err, context.Canceled)
	}
}

// TestLeftovers: files of a killed restore make a directory unusable until its data is in
// place.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	f, err := memberdir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Unlock()
	if err := restore.RemoveLeftovers(f); err != nil {
		t.Errorf("a new directory: %v", err)
	}
	work := filepath.Join(dir, "restoring")
	if err := os.MkdirAll(filepath.Join(work, "source"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := restore.RemoveLeftovers(f); !errors.Is(err, errdefs.ErrCorrupt) || !strings.Contains(err.Error(), `delete "restoring"`) {
		t.Errorf("an unfinished restore: got %v, want %v and the remedy", err, errdefs.ErrCorrupt)
	}
	if _, err := os.Stat(work); err != nil {
		t.Errorf("its files are removed: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "member"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := restore.RemoveLeftovers(f); err != nil {
		t.Errorf("a finished restore: %v", err)
	}
	if _, err := os.Stat(work); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its files are still there: %v", err)
	}
}
