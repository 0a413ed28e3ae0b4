// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/snapshot"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kubembed/kubembed/pkg/etcd"
)

func TestRestoreContinuesAboveAllRevisions(t *testing.T) {
	m := memberWith(t, 300)
	var b bytes.Buffer
	if _, err := m.Snapshot(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	at := m.Status().Revision
	if _, err := m.Client().Put(t.Context(), "later", "x"); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "new", "etcd")
	if err := etcd.RestoreSnapshot(t.Context(), etcd.RestoreConfig{Dir: dir}, &b); err != nil {
		t.Fatal(err)
	}
	back, err := etcd.Start(t.Context(), etcd.Config{Dir: dir, Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = back.Close() }()
	got, err := back.Client().Get(t.Context(), "key-", clientv3.WithPrefix())
	if err != nil || got.Count != 300 {
		t.Fatalf("%v keys, %v", got, err)
	}
	if later, _ := back.Client().Get(t.Context(), "later"); later.Count != 0 {
		t.Error("a key that was written after the snapshot exists")
	}
	if r := got.Header.Revision; r != at+int64(etcd.DefaultRevisionBump) {
		t.Errorf("revision %d after the restore, want %d and %d", r, at, etcd.DefaultRevisionBump)
	}
	// A client that saw the later write must not continue its watch.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	answer := <-back.Client().Watch(ctx, "key-", clientv3.WithPrefix(), clientv3.WithRev(at+2))
	if !errors.Is(answer.Err(), rpctypes.ErrCompacted) {
		t.Errorf("a watch from a later revision of the snapshotted cluster: got %v, want that it is compacted", answer.Err())
	}
	if _, err := back.Client().Put(t.Context(), "key-0000", "new"); err != nil {
		t.Error(err)
	}
}

func TestRestoreOfEtcdctlsSnapshot(t *testing.T) {
	m := memberWith(t, 200)
	path := filepath.Join(t.TempDir(), "saved.db")
	// The call of "etcdctl snapshot save".
	_, err := snapshot.SaveWithVersion(t.Context(), zap.NewNop(), clientv3.Config{
		Endpoints:   []string{"passthrough:///member"},
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), dialTo(m)},
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	dir := t.TempDir()
	if err := etcd.RestoreSnapshot(t.Context(), etcd.RestoreConfig{Dir: dir}, file); err != nil {
		t.Fatal(err)
	}
	if n := count(t, dir); n != 200 {
		t.Errorf("%d keys, want 200", n)
	}
}

func TestRestoreRefusesDamagedSnapshots(t *testing.T) {
	m := memberWith(t, 300)
	var b bytes.Buffer
	if _, err := m.Snapshot(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	flipped := bytes.Clone(whole)
	flipped[bytes.Index(flipped, []byte("key-0100"))+100] ^= 1 // in a value: no page shows it
	for name, data := range map[string][]byte{
		"empty":              nil,
		"short":              whole[:20],
		"cut":                whole[:len(whole)/2],
		"cut after a page":   whole[:len(whole)-4096],
		"without its sum":    whole[:len(whole)-32],
		"one bit is flipped": flipped,
		// A file with a right checksum must still be a database.
		"no database": summed(bytes.Repeat([]byte("x"), 8192)),
		"damaged before it was taken": func() []byte {
			d := bytes.Clone(whole[:len(whole)-32])
			for i := 5 * 4096; i < 9*4096; i++ {
				d[i] = 0xaa
			}
			return summed(d)
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "etcd")
			err := etcd.RestoreSnapshot(t.Context(), etcd.RestoreConfig{Dir: dir}, bytes.NewReader(data))
			if !errors.Is(err, etcd.ErrCorrupt) || !strings.Contains(err.Error(), "the snapshot") {
				t.Errorf("error %v, want that the snapshot is damaged", err)
			}
			for _, text := range []string{"Config.Dir", "restoring"} {
				if err != nil && strings.Contains(err.Error(), text) {
					t.Errorf("error %v, want no %q in it", err, text)
				}
			}
			if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("something is left: %v", err)
			}
		})
	}
}

func TestRestoreLeavesNothingWhenItFails(t *testing.T) {
	m := memberWith(t, 300)
	var b bytes.Buffer
	if _, err := m.Snapshot(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the disk has come off")
	dir := t.TempDir() // exists, and stays
	source := io.MultiReader(bytes.NewReader(b.Bytes()[:5000]), failing{broken})
	if err := etcd.RestoreSnapshot(t.Context(), etcd.RestoreConfig{Dir: dir}, source); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestRestoreIntoADirectoryWithData(t *testing.T) {
	dir := t.TempDir()
	m, err := etcd.Start(t.Context(), etcd.Config{Dir: dir, Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := m.Snapshot(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if err := etcd.RestoreSnapshot(t.Context(), etcd.RestoreConfig{Dir: dir}, bytes.NewReader(b.Bytes())); !errors.Is(err, etcd.ErrInUse) {
		t.Errorf("a directory in use: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := etcd.RestoreSnapshot(t.Context(), etcd.RestoreConfig{Dir: dir}, bytes.NewReader(b.Bytes())); !errors.Is(err, etcd.ErrHasData) {
		t.Errorf("a directory with data: %v", err)
	}
}

func TestStartRefusesAnUnfinishedRestore(t *testing.T) {
	m := memberWith(t, 100)
	var b bytes.Buffer
	if _, err := m.Snapshot(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "etcd")
	if err := os.MkdirAll(filepath.Join(dir, "restoring", "source"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Start(t.Context(), etcd.Config{Dir: dir}); !errors.Is(err, etcd.ErrCorrupt) || !strings.Contains(err.Error(), "restore again") {
		t.Errorf("start: %v", err)
	}
	if err := etcd.RestoreSnapshot(t.Context(), etcd.RestoreConfig{Dir: dir}, &b); err != nil {
		t.Fatal(err)
	}
	// As left by a process that was killed in its last step.
	if err := os.Mkdir(filepath.Join(dir, "restoring"), 0o700); err != nil {
		t.Fatal(err)
	}
	if n := count(t, dir); n != 100 {
		t.Errorf("%d keys, want 100", n)
	}
	if _, err := os.Lstat(filepath.Join(dir, "restoring")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the files of the restore are still there")
	}
}

// summed appends the checksum of a snapshot.
func summed(db []byte) []byte {
	sum := sha256.Sum256(db)
	return append(db, sum[:]...)
}
