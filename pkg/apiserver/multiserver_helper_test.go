// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/kubembed/kubembed/internal/etcdtest"
	"github.com/kubembed/kubembed/internal/testwait"
	"github.com/kubembed/kubembed/pkg/apiserver"
	"github.com/kubembed/kubembed/pkg/pki"
)

// remoteEtcd is an etcd to which servers connect over the network.
type remoteEtcd struct {
	*etcdtest.Etcd
	client *clientv3.Client
	pki    *pki.PKI // of all servers
}

func startRemoteEtcd(t testing.TB) *remoteEtcd {
	t.Helper()
	e := etcdtest.Start(t)
	return &remoteEtcd{e, e.Client(t), must(pki.Open(pki.Config{Hosts: []string{"127.0.0.1"}}))(t)}
}

func (e *remoteEtcd) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", e.Address())
}

// newServer starts a server. Unlike startPlane, it may be called from any goroutine.
func (e *remoteEtcd) newServer(dir string, modify ...func(*apiserver.Config)) (*plane, error) {
	p := &plane{pki: e.pki, dir: dir}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return p, err
	}
	cfg := apiserver.Config{
		Listener: listener, Client: e.client, Dial: e.dial, PKI: e.pki, Dir: dir, Shared: true, Controllers: true,
	}
	for _, m := range modify {
		m(&cfg)
	}
	server, err := apiserver.New(cfg)
	if err != nil {
		return p, errors.Join(err, ignoreClosed(listener.Close()))
	}
	p.use(server)
	ctx, cancel := context.WithTimeout(context.Background(), testwait.Timeout)
	defer cancel()
	return p, p.Start(ctx)
}

// servers starts count servers at the same time.
func (e *remoteEtcd) servers(t testing.TB, count int, modify ...func(int, *apiserver.Config)) []*plane {
	t.Helper()
	planes, errs := make([]*plane, count), make(chan error, count)
	for i := range count {
		dir := t.TempDir()
		go func() {
			p, err := e.newServer(dir, func(c *apiserver.Config) {
				for _, m := range modify {
					m(i, c)
				}
			})
			planes[i] = p
			errs <- err
		}()
	}
	for range count {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, p := range planes {
			if err := p.close(); err != nil {
				t.Error(err)
			}
		}
	})
	return planes
}

// advertised gives each server its own address, from the range for documentation.
func advertised(i int, c *apiserver.Config) { c.AdvertiseAddress = testAddress(i) }

func testAddress(i int) net.IP { return net.ParseIP(fmt.Sprintf("192.0.2.%d", i+1)) }
