// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
)

// create creates a ConfigMap through h, with retries.
func create(t *testing.T, h *host, name string) {
	t.Helper()
	testwait.UntilWithin(t, waitTimeout, h.name+": create "+name, func(ctx context.Context) error {
		return tryCreate(ctx, h, name)
	})
}

func tryCreate(ctx context.Context, h *host, name string) error {
	_, err := h.client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	return err
}

// wantObject requires an object through h at once: reads are consistent through every
// member.
func wantObject(t *testing.T, h *host, name string) {
	t.Helper()
	if _, err := h.client.CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{}); err != nil {
		t.Errorf("%s: %v", h.name, err)
	}
}

// TestMembersComeAndGo changes the members of a cluster: three form it, a fourth joins,
// one is removed, one is lost and replaced, and all stop and start again.
func TestMembersComeAndGo(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	began := time.Now()
	c.start()
	t.Logf("three members were ready after %s", time.Since(began).Round(time.Millisecond))
	a, b, dead := c.hosts["a"], c.hosts["b"], c.hosts["c"]
	for _, h := range c.hosts {
		create(t, h, "by-"+h.name)
		for _, other := range c.hosts {
			wantObject(t, other, "by-"+h.name)
		}
	}

	began = time.Now()
	d := c.join(a, "d")
	t.Logf("a fourth member was ready after %s", time.Since(began).Round(time.Millisecond))
	wantObject(t, d, "by-c")
	create(t, d, "by-d")
	wantObject(t, a, "by-d")
	votes(t, d, "a", "b", "c", "d")

	b.do(command{Do: "remove", Name: "d"})
	if log := d.ended(); !strings.Contains(log, "not a member of the cluster") {
		t.Errorf("the removed member ended with %s", log)
	}
	votes(t, a, "a", "b", "c")
	if err := d.start(); err == nil || !strings.Contains(err.Error(), "Config.DataDir") || !strings.Contains(err.Error(), "not a member of the cluster") {
		t.Errorf("the removed member started again: %v", err)
	}

	dead.kill()
	create(t, a, "without-c")
	a.do(command{Do: "remove", Name: "c"})
	e := c.join(b, "e")
	votes(t, e, "a", "b", "e")
	wantObject(t, e, "without-c")

	// All members stop, and start again from their directories.
	a.stop()
	b.kill()
	e.kill()
	delete(c.hosts, "c")
	delete(c.hosts, "d")
	c.start()
	for _, h := range c.hosts {
		for _, name := range []string{"by-a", "by-b", "by-c", "by-d", "without-c"} {
			wantObject(t, h, name)
		}
	}
}

// TestStrangersAreRefused starts members of other clusters.
func TestStrangersAreRefused(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.start()
	create(t, c.hosts["a"], "before")

	address := peerAddr()
	for _, stranger := range []struct {
		name string
		pki  []byte
		etcd controlplane.Etcd
		want []string
	}{
		{
			"not added", c.pki,
			controlplane.Etcd{Name: "x", PeerAddr: address, Join: []string{c.first["a"], c.first["b"]}},
			[]string{"Config.Etcd.Join", "not a member of the cluster", address, "AddMember"},
		},
		{
			"another PKI", newPKI(t),
			controlplane.Etcd{Name: "x", PeerAddr: address, Join: []string{c.first["a"], c.first["b"]}},
			[]string{"Config.Etcd", "another CA", "give all members the same PKI", c.first["a"]},
		},
		{
			"another cluster at the addresses", c.pki,
			controlplane.Etcd{Name: "x", PeerAddr: address, InitialCluster: map[string]string{"x": address, "a": c.first["a"], "b": c.first["b"]}},
			[]string{"Config.Etcd.InitialCluster", "another cluster", c.first["a"]},
		},
	} {
		t.Run(stranger.name, func(t *testing.T) {
			h := newHost(t, "x", hostConfig{DataDir: t.TempDir() + "/x", Etcd: stranger.etcd, PKI: stranger.pki})
			refused(t, h, stranger.want...)
		})
	}

	t.Run("a directory that was emptied", func(t *testing.T) {
		c.hosts["c"].kill()
		cfg := c.hosts["c"].config
		cfg.DataDir = t.TempDir() + "/c"
		refused(t, newHost(t, "c", cfg), "Config.Etcd", "data is missing", "RemoveMember")
	})
	create(t, c.hosts["a"], "after")
	wantObject(t, c.hosts["b"], "after")
}

func refused(t *testing.T, h *host, want ...string) {
	t.Helper()
	err := h.start()
	if err == nil {
		t.Fatal("it started")
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v does not say %q", err, text)
		}
	}
}

// TestLeaderIsKilled kills the leader during writes through all members: acknowledged
// writes are there, and writes continue through the others.
func TestLeaderIsKilled(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.start()
	type ack struct {
		host, name string
		at         time.Time
	}
	const writers = 4
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	acks := make(chan ack, 1<<16)
	ended := make(chan struct{}, len(c.hosts)*writers)
	for _, h := range c.hosts {
		for w := range writers {
			go func() {
				defer func() { ended <- struct{}{} }()
				for n := 0; ctx.Err() == nil; n++ {
					name := fmt.Sprintf("%s-%d-%d", h.name, w, n)
					call, cancel := context.WithTimeout(ctx, 10*time.Second)
					err := tryCreate(call, h, name)
					cancel()
					if err == nil {
						acks <- ack{h.name, name, time.Now()}
					}
				}
			}()
		}
	}
	var all []ack
	take := func(n int) {
		t.Helper()
		for range n {
			select {
			case a := <-acks:
				all = append(all, a)
			case <-time.After(waitTimeout):
				t.Fatal("no write was acknowledged in time")
			}
		}
	}
	take(1000)
	killed := c.leader(c.hosts["a"])
	killed.kill()
	at := time.Now()
	after := map[string]time.Duration{}
	for len(after) < 2 {
		take(1)
		if a := all[len(all)-1]; a.host != killed.name && a.at.After(at) {
			if _, ok := after[a.host]; !ok {
				after[a.host] = a.at.Sub(at)
			}
		}
	}
	take(500)
	stop()
	for range len(c.hosts) * writers {
		<-ended
	}
	close(acks)
	for a := range acks {
		all = append(all, a)
	}
	t.Logf("the leader %s was killed; the first write after that through each other: %v; %d writes were acknowledged", killed.name, after, len(all))

	for _, h := range c.hosts {
		if h == killed {
			continue
		}
		list, err := h.client.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		there := map[string]bool{}
		for i := range list.Items {
			there[list.Items[i].Name] = true
		}
		lost := 0
		for _, a := range all {
			if !there[a.name] {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("%s has lost %d of %d acknowledged writes", h.name, lost, len(all))
		}
	}
	if err := killed.start(); err != nil {
		t.Fatal(err)
	}
	wantObject(t, killed, all[len(all)-1].name)
}

// TestLeaderIsPaused stops the leader without closing its connections, like a machine
// that hangs: other control planes leave it, and it recovers afterwards.
func TestLeaderIsPaused(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.start()
	create(t, c.hosts["a"], "before")
	paused := c.leader(c.hosts["a"])
	paused.signal(syscall.SIGSTOP)
	began := time.Now()
	for _, h := range c.hosts {
		if h != paused {
			create(t, h, "without-"+h.name)
			t.Logf("%s writes %s after the leader %s was paused", h.name, time.Since(began).Round(time.Millisecond), paused.name)
			wantObject(t, h, "before")
		}
	}
	paused.signal(syscall.SIGCONT)
	create(t, paused, "after")
	for _, h := range c.hosts {
		if h != paused {
			wantObject(t, paused, "without-"+h.name)
			wantObject(t, h, "after")
		}
	}
}
