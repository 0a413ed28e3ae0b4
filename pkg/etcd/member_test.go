// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kubembed/kubembed/pkg/etcd"
)

func TestValidateReportsEveryProblem(t *testing.T) {
	err := etcd.Config{QuotaBytes: -1}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"etcd: Config.Dir:", "etcd: Config.QuotaBytes:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	if _, startErr := etcd.Start(t.Context(), etcd.Config{QuotaBytes: -1}); startErr == nil || startErr.Error() != err.Error() {
		t.Errorf("Start says %v", startErr)
	}
	if err := (etcd.Config{Dir: "x"}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestPutGet(t *testing.T) {
	for _, ephemeral := range []bool{true, false} {
		t.Run(kind(ephemeral), func(t *testing.T) {
			m := start(t, etcd.Config{Dir: filepath.Join(t.TempDir(), "made", "for", "it"), Ephemeral: ephemeral})
			put(t, m.Client(), "k", "v")
			if got := get(t, m.Client(), "k"); got != "v" {
				t.Errorf("got %q", got)
			}
			select {
			case <-m.Done():
				t.Error("done while running")
			default:
			}
			closeMember(t, m)
			<-m.Done()
			if err := m.Err(); err != nil {
				t.Error(err)
			}
			if _, err := m.Client().Get(t.Context(), "k"); !errors.Is(err, rpctypes.ErrStopped) {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

// TestLimits: the API server's seeding and upstream's errors rely on these limits.
func TestLimits(t *testing.T) {
	m := start(t, etcd.Config{Dir: t.TempDir(), Ephemeral: true})
	defer closeMember(t, m)
	var ops []clientv3.Op
	for i := range etcd.MaxTxnOps {
		ops = append(ops, clientv3.OpPut(fmt.Sprint(i), "v"))
	}
	if _, err := m.Client().Txn(t.Context()).Then(ops...).Commit(); err != nil {
		t.Error(err)
	}
	if _, err := m.Client().Txn(t.Context()).Then(append(ops, clientv3.OpPut("one more", "v"))...).Commit(); !errors.Is(err, rpctypes.ErrTooManyOps) {
		t.Errorf("one operation too many: %v", err)
	}
	if _, err := m.Client().Put(t.Context(), "big", strings.Repeat("x", 1<<20)); err != nil {
		t.Error(err)
	}
	if _, err := m.Client().Put(t.Context(), "bigger", strings.Repeat("x", 2<<20)); !errors.Is(err, rpctypes.ErrRequestTooLarge) {
		t.Errorf("too big: %v", err)
	}
	lease, err := m.Client().Grant(t.Context(), 15)
	if err != nil || lease.TTL != 15 {
		t.Errorf("lease: %v, %v", lease, err)
	}
}

func TestDurableRestartKeepsData(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		m := start(t, etcd.Config{Dir: dir})
		if i > 0 {
			if got := get(t, m.Client(), "k"); got != fmt.Sprint(i-1) {
				t.Errorf("start %d: got %q", i, got)
			}
		}
		put(t, m.Client(), "k", fmt.Sprint(i))
		closeMember(t, m)
	}
}

// TestCampaignDuringReplay: raft panicked when the member campaigned while etcd was
// dropping replayed entries from memory. It happened by chance, so the test makes many
// starts; none may fail.
func TestCampaignDuringReplay(t *testing.T) {
	for _, writes := range []int{60, 300, 1500} {
		t.Run(fmt.Sprint(writes), func(t *testing.T) {
			dir := t.TempDir()
			m := start(t, etcd.Config{Dir: dir, Ephemeral: true})
			for i := range writes {
				put(t, m.Client(), "k", fmt.Sprint(i))
			}
			closeMember(t, m)
			for range 10 {
				m := start(t, etcd.Config{Dir: dir, Ephemeral: true})
				if got := get(t, m.Client(), "k"); got != fmt.Sprint(writes-1) {
					t.Errorf("got %q", got)
				}
				closeMember(t, m)
			}
		})
	}
}

func TestDialContext(t *testing.T) {
	m := start(t, etcd.Config{Dir: t.TempDir(), Ephemeral: true})
	dial := func(ctx context.Context, addr string) (net.Conn, error) { return m.DialContext(ctx, "tcp", addr) }
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"passthrough:///memory"},
		DialOptions: []grpc.DialOption{
			grpc.WithContextDialer(dial),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, client, "k", "through gRPC")
	if got := get(t, m.Client(), "k"); got != "through gRPC" {
		t.Errorf("got %q", got)
	}
	watch := client.Watch(t.Context(), "k")
	put(t, m.Client(), "k", "2")
	if resp := <-watch; len(resp.Events) != 1 {
		t.Errorf("watch: %+v", resp)
	}
	closeMember(t, m) // with a watch and a connection open
	if _, err := m.DialContext(t.Context(), "tcp", ""); !errors.Is(err, etcd.ErrClosed) {
		t.Errorf("dial after Close: %v", err)
	}
	_ = client.Close()
}

func TestWatchEndsWithClose(t *testing.T) {
	m := start(t, etcd.Config{Dir: t.TempDir(), Ephemeral: true})
	watch := m.Client().Watch(t.Context(), "k")
	put(t, m.Client(), "k", "v")
	if resp := <-watch; len(resp.Events) != 1 {
		t.Fatalf("watch: %+v", resp)
	}
	closeMember(t, m)
	for range watch { // ends, or the test times out
	}
}

func TestCloseAgainAndAtOnceDuringWrites(t *testing.T) {
	m := start(t, etcd.Config{Dir: t.TempDir(), Ephemeral: true})
	var writers, closers sync.WaitGroup
	wrote := make(chan struct{}, 8)
	for range cap(wrote) {
		writers.Go(func() {
			for first := true; ; first = false {
				if _, err := m.Client().Put(context.Background(), "k", "v"); err != nil {
					if !errors.Is(err, rpctypes.ErrStopped) {
						t.Error(err)
					}
					return
				}
				if first {
					wrote <- struct{}{}
				}
			}
		})
	}
	for range cap(wrote) {
		<-wrote
	}
	for range 4 {
		closers.Go(func() {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	closers.Wait()
	writers.Wait()
	closeMember(t, m)
	if err := m.Err(); err != nil {
		t.Error(err)
	}
}

func TestManyMembersAtOnce(t *testing.T) {
	var all sync.WaitGroup
	for i := range 20 {
		dir := t.TempDir()
		all.Go(func() {
			m, err := etcd.Start(context.Background(), etcd.Config{Dir: dir, Ephemeral: true})
			if err != nil {
				t.Error(err)
				return
			}
			want := fmt.Sprint(i)
			if _, err := m.Client().Put(context.Background(), "k", want); err != nil {
				t.Error(err)
			}
			resp, err := m.Client().Get(context.Background(), "k")
			if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != want {
				t.Errorf("member %d: %v, %v", i, resp, err)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestStartEndsWithItsContext(t *testing.T) {
	cause := errors.New("changed my mind")
	// etcd logs these on its way up, in this order; "" is before Start.
	for _, at := range []string{"", "starting an etcd server", "bootstrap successfully", "starting etcd server", "now serving peer/client/metrics"} {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if at == "" {
				cancel(cause)
			}
			seen := at == ""
			logger := onMessage(at, func() { seen = true; cancel(cause) })
			parent := t.TempDir()
			dir := filepath.Join(parent, "a", "b")
			_, err := etcd.Start(ctx, etcd.Config{Dir: dir, Logger: logger})
			if !errors.Is(err, cause) {
				t.Errorf("Start: %v", err)
			}
			if !seen {
				t.Error("etcd did not log the message")
			}
			if left := list(t, parent); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// onMessage returns a logger that calls f, in the logging goroutine, when etcd
// logs message.
func onMessage(message string, f func()) *zap.Logger {
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(discard{}), zapcore.DebugLevel)
	var once sync.Once
	return zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
		if e.Message == message {
			once.Do(f)
		}
		return nil
	}))
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func start(t testing.TB, cfg etcd.Config) *etcd.Member {
	t.Helper()
	m, err := etcd.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func closeMember(t testing.TB, m *etcd.Member) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, c *clientv3.Client, key, value string) {
	t.Helper()
	if _, err := c.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, c *clientv3.Client, key string) string {
	t.Helper()
	resp, err := c.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) != 1 {
		t.Fatalf("%d values of %q", len(resp.Kvs), key)
	}
	return string(resp.Kvs[0].Value)
}

// list returns all paths below dir.
func list(t testing.TB, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if path != dir {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
