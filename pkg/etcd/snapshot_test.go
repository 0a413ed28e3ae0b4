// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/etcd"
)

// memberWith starts a member with n keys.
func memberWith(t *testing.T, n int) *etcd.Member {
	t.Helper()
	m, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir(), Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range n {
		if _, err := m.Client().Put(t.Context(), fmt.Sprintf("key-%04d", i), strings.Repeat("x", 1000)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// dialled returns a gRPC client of m.
func dialled(t *testing.T, m *etcd.Member) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"passthrough:///member"},
		DialOptions: []grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			dialTo(m),
		},
		Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func dialTo(m *etcd.Member) grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		return m.DialContext(ctx, "", addr)
	})
}

// take reads a snapshot and compares its size with Size.
func take(t *testing.T, s *etcd.Snapshot, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(s)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(data)) != s.Size() {
		t.Errorf("got %d bytes, want %d", len(data), s.Size())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return data
}

func TestEtcdutlRestoresSnapshots(t *testing.T) {
	m := memberWith(t, 500)
	local, err := m.OpenSnapshot(t.Context())
	ours := take(t, local, err)
	remote, err := etcd.OpenSnapshot(t.Context(), dialled(t, m))
	theirs := take(t, remote, err)
	for name, data := range map[string][]byte{"of the member": ours, "of a client": theirs} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "snapshot.db")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			utl := snapshot.NewV3(zap.NewNop())
			status, err := utl.Status(path)
			if err != nil {
				t.Fatal(err)
			}
			if status.TotalKey != 500 || status.Revision != m.Status().Revision {
				t.Errorf("etcdutl sees %d keys at revision %d, want 500 at %d", status.TotalKey, status.Revision, m.Status().Revision)
			}
			dir := t.TempDir()
			err = utl.Restore(snapshot.RestoreConfig{
				SnapshotPath: path, OutputDataDir: dir, Name: "kubembed",
				PeerURLs: []string{"http://127.0.0.1:0"}, InitialCluster: "kubembed=http://127.0.0.1:0", InitialClusterToken: "t",
			})
			if err != nil {
				t.Fatal(err)
			}
			if n := count(t, dir); n != 500 {
				t.Errorf("restored by etcdutl: got %d keys, want 500", n)
			}
		})
	}
}

// count starts a member in dir and counts its keys.
func count(t *testing.T, dir string) int64 {
	t.Helper()
	m, err := etcd.Start(t.Context(), etcd.Config{Dir: dir, Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	r, err := m.Client().Get(t.Context(), "key-", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return r.Count
}

func TestSnapshotDoesNotHoldClose(t *testing.T) {
	m := memberWith(t, 500)
	s, err := m.OpenSnapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil { // the snapshot is not read
		t.Fatal(err)
	}
	if _, err := io.ReadAll(s); !errors.Is(err, etcd.ErrClosed) {
		t.Errorf("the snapshot of a closed member ends with %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := m.OpenSnapshot(t.Context()); !errors.Is(err, etcd.ErrClosed) {
		t.Errorf("a closed member: %v", err)
	}
}

func TestSnapshotEndsWithItsContext(t *testing.T) {
	m := memberWith(t, 500)
	client := dialled(t, m)
	for name, open := range map[string]func(context.Context) (*etcd.Snapshot, error){
		"member": m.OpenSnapshot,
		"client": func(ctx context.Context) (*etcd.Snapshot, error) { return etcd.OpenSnapshot(ctx, client) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			s, err := open(ctx)
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			var b bytes.Buffer
			if n, err := io.Copy(&b, s); err == nil {
				t.Errorf("all %d bytes were read of a snapshot that was cancelled", n)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMaintenanceOfTheClient: upstream's in-process client panics when it
// defragments.
func TestMaintenanceOfTheClient(t *testing.T) {
	m := memberWith(t, 10)
	if _, err := m.Client().Defragment(t.Context(), ""); err != nil {
		t.Error(err)
	}
	r, err := m.Client().Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil || len(data)%512 != 32 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	_ = r.Close()
	_ = m.Close()
	if _, err := m.Client().Defragment(context.Background(), ""); !errors.Is(err, rpctypes.ErrStopped) {
		t.Errorf("of a closed member: %v", err)
	}
}

// TestSnapshotWithoutALeader: the data of a remaining member can be saved when most
// members are lost.
func TestSnapshotWithoutALeader(t *testing.T) {
	members, _ := newTestCluster(t, "a", "b", "c").startAll()
	mustPut(t, members["a"].Client(), "key-1", "x")
	take := func() (int64, error) {
		var b bytes.Buffer
		if _, err := members["a"].Snapshot(t.Context(), &b); err != nil {
			return 0, err
		}
		dir := t.TempDir()
		err := etcd.RestoreSnapshot(t.Context(), etcd.RestoreConfig{Dir: dir}, &b)
		if err != nil {
			return 0, err
		}
		return count(t, dir), nil
	}
	if n, err := take(); n != 1 {
		t.Errorf("with all members there are %d keys, %v", n, err)
	}
	for _, name := range []string{"b", "c"} {
		if err := members[name].Close(); err != nil {
			t.Fatal(err)
		}
	}
	testwait.True(t, "there is no leader", func() bool { return members["a"].Status().Leader == 0 })
	if n, err := take(); n != 1 {
		t.Errorf("without a leader there are %d keys, %v", n, err)
	}
}
