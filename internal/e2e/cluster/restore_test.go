// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/kubembed/kubembed/pkg/controlplane"
)

// restoreTo restores a snapshot to a DataDir.
func restoreTo(t *testing.T, dir, snapshot string, cfg controlplane.RestoreConfig) {
	t.Helper()
	file, err := os.Open(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if err := controlplane.Restore(t.Context(), dir, file, cfg); err != nil {
		t.Fatal(err)
	}
}

// TestClusterIsRestored restores the snapshot of a follower, once to a standalone
// control plane, and once to a cluster that starts with one member.
func TestClusterIsRestored(t *testing.T) {
	const behind = 100
	c := newCluster(t, "a", "b", "c")
	c.start()
	for _, h := range c.hosts {
		create(t, h, "by-"+h.name)
	}
	leader := c.leader(c.hosts["a"])
	follower := c.hosts["a"]
	if leader == follower {
		follower = c.hosts["b"]
	}
	snapshot := filepath.Join(t.TempDir(), "snapshot.tar")
	// The follower lags behind when it takes the snapshot.
	follower.signal(syscall.SIGSTOP)
	for i := range behind {
		create(t, leader, fmt.Sprintf("behind-%d", i))
	}
	taken := make(chan error, 1)
	go func() {
		_, err := follower.try(command{Do: "snapshot", File: snapshot})
		taken <- err
	}()
	follower.signal(syscall.SIGCONT)
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	create(t, c.hosts["a"], "later")
	old := c.hosts["c"]
	for _, h := range c.hosts {
		h.kill()
	}
	complete := func(h *host) {
		t.Helper()
		for _, name := range []string{"by-a", "by-b", "by-c"} {
			wantObject(t, h, name)
		}
		for i := range behind {
			wantObject(t, h, fmt.Sprintf("behind-%d", i))
		}
		if err := tryCreate(t.Context(), h, "later"); err != nil {
			t.Errorf("%s: create an object that the snapshot must not have: %v", h.name, err)
		}
	}

	// The keys come from the snapshot.
	alone := newHost(t, "alone", hostConfig{DataDir: filepath.Join(t.TempDir(), "alone")})
	restoreTo(t, alone.config.DataDir, snapshot, controlplane.RestoreConfig{})
	if err := alone.start(); err != nil {
		t.Fatal(err)
	}
	complete(alone)
	alone.stop()
	with := alone.config
	with.Etcd = controlplane.Etcd{Name: "a", PeerAddr: c.first["a"], InitialCluster: map[string]string{"a": c.first["a"]}}
	refused(t, newHost(t, "a", with), "Config.DataDir", "it belongs to a standalone member", "leave out Config.Etcd.Name")

	// On the machine of a, with its addresses.
	dir := filepath.Join(t.TempDir(), "a")
	restoreTo(t, dir, snapshot, controlplane.RestoreConfig{Name: "a", PeerAddr: c.first["a"]})
	other := hostConfig{DataDir: dir, Etcd: with.Etcd}
	other.Etcd.PeerAddr = peerAddr()
	other.Etcd.InitialCluster = map[string]string{"a": other.Etcd.PeerAddr}
	refused(t, newHost(t, "a", other), "Config.Etcd.PeerAddr", c.first["a"], "keep the address")
	a := newHost(t, "a", hostConfig{DataDir: dir, Etcd: with.Etcd})
	if err := a.start(); err != nil {
		t.Fatal(err)
	}
	complete(a)
	if members := a.do(command{Do: "members"}).Members; len(members) != 1 || members[0].PeerAddr != c.first["a"] || !members[0].Leader {
		t.Errorf("members %+v, want a at %s", members, c.first["a"])
	}

	// A member of the old cluster must not join the new one.
	refused(t, old, "Config.DataDir", "another cluster", c.first["a"])

	c.hosts = map[string]*host{"a": a}
	b := c.join(a, "b")
	votes(t, b, "a", "b")
	for _, name := range []string{"by-a", "by-b", "by-c", "later"} {
		wantObject(t, b, name)
	}
	create(t, b, "afterwards")
	wantObject(t, a, "afterwards")
}
