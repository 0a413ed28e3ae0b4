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
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/etcd"
	"github.com/kubembed/kubembed/pkg/pki"
)

// addresses counts the addresses of 127.0.0.0/8 that are in use. Each is used once per
// test binary, so that a member's address is known before it listens.
var addresses atomic.Uint32

func peerAddr() string {
	n := addresses.Add(1)
	return fmt.Sprintf("127.%d.%d.%d:2380", 64+os.Getpid()%128, n/250, 1+n%250)
}

// testCluster makes the configurations of the members of a cluster.
type testCluster struct {
	t     *testing.T
	ca    []byte
	first map[string]string
}

func newTestCluster(t *testing.T, names ...string) *testCluster {
	c := &testCluster{t: t, first: map[string]string{}}
	t.Cleanup(func() { idleConnections(t) })
	for _, name := range names {
		c.first[name] = peerAddr()
	}
	return c
}

// config returns the configuration of an initial member, or, with join, of a later one.
func (c *testCluster) config(name, address string, join []string) etcd.Config {
	c.t.Helper()
	dir := c.t.TempDir()
	p, err := pki.Open(pki.Config{Dir: filepath.Join(dir, "pki"), EtcdMember: []string{strings.TrimSuffix(address, ":2380")}, Import: c.ca})
	if err != nil {
		c.t.Fatal(err)
	}
	if c.ca == nil {
		if c.ca, err = p.Export(); err != nil {
			c.t.Fatal(err)
		}
	}
	cluster := &etcd.Cluster{Name: name, PeerAddr: address, InitialCluster: c.first, Join: join}
	if join != nil {
		cluster.InitialCluster = nil
	}
	cluster.CA, cluster.Cert, cluster.Key = p.EtcdFiles()
	return etcd.Config{Dir: filepath.Join(dir, "etcd"), Cluster: cluster}
}

// startAll starts the initial members concurrently.
func (c *testCluster) startAll() (map[string]*etcd.Member, map[string]etcd.Config) {
	c.t.Helper()
	members, configs := map[string]*etcd.Member{}, map[string]etcd.Config{}
	for name, address := range c.first {
		configs[name] = c.config(name, address, nil)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for name, cfg := range configs {
		all.Go(func() {
			m, err := startMember(cfg)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				c.t.Error(name, err)
				return
			}
			members[name] = m
			c.t.Cleanup(func() { _ = m.Close() })
		})
	}
	all.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
	return members, configs
}

func startMember(cfg etcd.Config) (*etcd.Member, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return etcd.Start(ctx, cfg)
}

// mustPut repeats a put until it succeeds: calls in flight fail when the client leaves a
// member.
func mustPut(t *testing.T, client *clientv3.Client, key, value string) {
	t.Helper()
	testwait.Until(t, "a put of "+key, func(ctx context.Context) error {
		_, err := client.Put(ctx, key, value)
		return err
	})
}

func wantValue(t *testing.T, client *clientv3.Client, key, value string) {
	t.Helper()
	testwait.Until(t, "a get of "+key, func(ctx context.Context) error {
		got, err := client.Get(ctx, key)
		if err == nil && (len(got.Kvs) != 1 || string(got.Kvs[0].Value) != value) {
			t.Fatalf("%s is %v, want %q", key, got.Kvs, value)
		}
		return err
	})
}

func TestClusterOfMembers(t *testing.T) {
	c := newTestCluster(t, "a", "b", "c")
	members, configs := c.startAll()
	mustPut(t, members["a"].Client(), "one", "1")
	wantValue(t, members["b"].Client(), "one", "1")

	// An in-memory connection reaches the same cluster.
	dialled, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"passthrough:///embedded"},
		DialOptions: []grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(dialAny(members["c"])),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	wantValue(t, dialled, "one", "1")
	watched, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	events := dialled.Watch(watched, "two")
	mustPut(t, dialled, "two", "2")
	if got := <-events; got.Err() != nil || string(got.Events[0].Kv.Value) != "2" {
		t.Fatalf("watch: %v %v", got.Err(), got.Events)
	}

	// The client of a process works without its own member.
	if err := members["a"].Close(); err != nil {
		t.Fatal(err)
	}
	mustPut(t, members["b"].Client(), "three", "3")
	restarted, err := startMember(configs["a"])
	if err != nil {
		t.Fatal(err)
	}
	defer restarted.Close()
	wantValue(t, restarted.Client(), "three", "3")

	// A learner joins, and gets its vote.
	address := peerAddr()
	join, err := members["b"].AddMember(t.Context(), "d", address)
	if err != nil {
		t.Fatal(err)
	}
	cfg := c.config("d", address, join)
	d, err := startMember(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	wantValue(t, d.Client(), "three", "3")
	testwait.Until(t, "the promotion of d", func(ctx context.Context) error {
		list, err := d.Members(ctx)
		if err != nil {
			return err
		}
		if len(list) != 4 || list[3].Name != "d" || list[3].Learner {
			return fmt.Errorf("members: %+v", list)
		}
		return nil
	})
	if _, err := d.AddMember(t.Context(), "d", peerAddr()); err == nil {
		t.Error("a second member d was added")
	}

	// A removed member stops, and cannot start again.
	if err := members["b"].RemoveMember(t.Context(), "d"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.Done():
		if !errors.Is(d.Err(), etcd.ErrRemoved) {
			t.Errorf("a removed member ended with %v", d.Err())
		}
		if err := d.Err(); err != nil && !strings.HasPrefix(err.Error(), "etcd: member failed: Config.Dir: ") {
			t.Errorf("a removed member: got %v, want the package once", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("a removed member still runs")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := startMember(cfg); !errors.Is(err, etcd.ErrRemoved) {
		t.Errorf("a removed member started: %v", err)
	}

	// Directories of other members.
	for _, m := range members {
		_ = m.Close()
	}
	_ = restarted.Close()
	alone := configs["b"]
	alone.Cluster = nil
	refused(t, alone, etcd.ErrOtherMember, "Config.Dir")
	other := configs["b"]
	other.Cluster = new(etcd.Cluster)
	*other.Cluster = *configs["b"].Cluster
	other.Cluster.Name, other.Cluster.InitialCluster = "x", map[string]string{"x": other.Cluster.PeerAddr}
	refused(t, other, etcd.ErrOtherMember, "Config.Cluster.Name")
}

// TestStandaloneDirectoryRefusesCluster: without its Name, a Cluster is invalid.
func TestStandaloneDirectoryRefusesCluster(t *testing.T) {
	c := newTestCluster(t, "a")
	cfg := c.config("a", c.first["a"], nil)
	m, err := startMember(etcd.Config{Dir: cfg.Dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, cfg, etcd.ErrOtherMember, "leave out Config.Cluster, or")
}

func dialAny(m *etcd.Member) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) { return m.DialContext(ctx, "tcp", addr) }
}

func refused(t *testing.T, cfg etcd.Config, want error, text string) {
	t.Helper()
	m, err := startMember(cfg)
	if err == nil {
		_ = m.Close()
	}
	if !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %v with the text %q", err, want, text)
	}
}

// idleConnections waits for connections between members that etcd does not close when it
// stops. Connections for single requests end by themselves when nothing has been read for
// five seconds (rafthttp.ConnReadTimeout). The context of a test ends before its cleanup.
func idleConnections(t *testing.T) {
	var leaks error
	if err := wait.PollUntilContextTimeout(context.Background(), 20*time.Millisecond, testwait.Timeout, true, func(context.Context) (bool, error) {
		leaks = goleak.Find(ignoredGoroutines...)
		return leaks == nil, nil
	}); err != nil {
		t.Fatalf("goroutines of closed members: %v", leaks)
	}
}
