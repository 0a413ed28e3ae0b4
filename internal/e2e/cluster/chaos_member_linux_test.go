// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/controlplane"
	"github.com/kubembed/kubembed/pkg/pki"
)

// member is a host that faults affect.
type member struct {
	*host
	space  *namespace // nil is the test's
	admin  *rest.Config
	client *http.Client
	api    atomic.Pointer[rest.RESTClient]
}

// chaos is a cluster of three members.
type chaos struct {
	*cluster
	members []*member
}

// newChaos starts three members, each in its own network namespace if apart.
func newChaos(t *testing.T, apart bool) *chaos {
	t.Helper()
	names := []string{"a", "b", "c"}
	c := &chaos{cluster: &cluster{t: t, pki: newPKI(t), first: map[string]string{}, hosts: map[string]*host{}}}
	var network map[string]*namespace
	addresses := map[string]string{}
	if apart {
		network, addresses = newNetwork(t, names...)
	}
	for _, name := range names {
		if c.first[name] = peerAddr(); apart {
			c.first[name] = net.JoinHostPort(addresses[name], "2380")
		}
	}
	admin := adminConfig(t, c.pki)
	for _, name := range names {
		h := newHost(t, name, hostConfig{
			DataDir: filepath.Join(t.TempDir(), name), PKI: c.pki,
			Etcd: controlplane.Etcd{Name: name, PeerAddr: c.first[name], InitialCluster: c.first},
		})
		c.hosts[name] = h
		m := &member{host: h, space: network[name], admin: admin}
		t.Cleanup(m.disconnect)
		c.members = append(c.members, m)
	}
	all(t, c.members, (*member).start)
	return c
}

// adminConfig returns a configuration for an administrator of all members, without an
// address.
func adminConfig(t *testing.T, bundle []byte) *rest.Config {
	t.Helper()
	p, err := pki.Open(pki.Config{Import: bundle})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := p.IssueClient("admin", []string{"system:masters"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &rest.Config{QPS: -1, APIPath: "/api", ContentConfig: rest.ContentConfig{
		GroupVersion: &corev1.SchemeGroupVersion, NegotiatedSerializer: scheme.Codecs.WithoutConversion(),
	}, TLSClientConfig: rest.TLSClientConfig{CAData: p.CABundle(), CertData: pair.Cert, KeyData: pair.Key}}
}

// start starts the process in its network namespace, and connects to it from there: a
// cut network does not separate a member from its clients.
func (m *member) start() error {
	if err := m.space.do(m.host.start); err != nil {
		return err
	}
	m.disconnect()
	config := rest.CopyConfig(m.admin)
	config.Host = "https://" + m.host.client.CoreV1().RESTClient().Get().URL().Host
	config.Dial = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = m.space.do(func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	api, err := rest.RESTClientForConfigAndClient(config, client)
	if err != nil {
		return err
	}
	m.client = client
	m.api.Store(api)
	return nil
}

// disconnect closes idle connections.
func (m *member) disconnect() {
	if m.client != nil {
		m.client.CloseIdleConnections()
	}
}

// find returns the leader.
func (c *chaos) find(t *testing.T) (leader *member) {
	t.Helper()
	testwait.UntilWithin(t, waitTimeout, "the leader", func(context.Context) error {
		r, err := c.members[0].try(command{Do: "members"})
		if err != nil {
			return err
		}
		for _, member := range r.Members {
			for _, m := range c.members {
				if member.Leader && member.Name == m.name {
					leader = m
					return nil
				}
			}
		}
		return errors.New("no member is the leader")
	})
	return leader
}

// whom selects the members that a fault affects.
type whom string

const (
	theLeader   whom = "leader"
	oneFollower whom = "follower"
	allOfThem   whom = "all"
)

// choose returns the members for a fault, and the others.
func (c *chaos) choose(t *testing.T, who whom) (targets, others []*member) {
	t.Helper()
	leader := c.find(t)
	for _, m := range c.members {
		if who == allOfThem || who == theLeader && m == leader || who == oneFollower && m != leader && len(targets) == 0 {
			targets = append(targets, m)
		} else {
			others = append(others, m)
		}
	}
	return targets, others
}

// fault starts and ends a fault of a member.
type fault struct {
	name     string
	do, undo func(*member) error
}

var (
	killed = fault{"killed", func(m *member) error { m.kill(); return nil }, (*member).start}
	paused = fault{
		"paused", func(m *member) error { return m.cmd.Process.Signal(syscall.SIGSTOP) },
		func(m *member) error { return m.cmd.Process.Signal(syscall.SIGCONT) },
	}
	cutOff = fault{
		"cut off", func(m *member) error { return m.space.cut() },
		func(m *member) error { return m.space.heal() },
	}
)

// all calls do for several members at once.
func all(t *testing.T, members []*member, do func(*member) error) {
	t.Helper()
	errs := make(chan error, len(members))
	for _, m := range members {
		go func() { errs <- do(m) }()
	}
	var err error
	for range members {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		t.Fatal(err)
	}
}
