// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package etcdtest runs an etcd for tests that reach it over the network, and that stop
// and restart it.
package etcdtest

import (
	"net"
	"net/url"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/kubembed/kubembed/internal/etcd/heldport"
)

// Etcd is one member in this process, on a loopback address that stays the same.
type Etcd struct {
	config *embed.Config
	held   *heldport.Listener // nil while the member serves
	member *member            // nil while it does not
}

// member is a running etcd.
type member struct {
	etcd    *embed.Etcd
	grpc    *grpc.Server
	port    *net.TCPListener
	serving chan struct{} // closed when the port is not served any more
}

// Start starts an etcd that ends with the test.
func Start(t testing.TB) *Etcd {
	t.Helper()
	return StartOn(t, t.TempDir())
}

// StartOn starts an etcd on a data directory.
func StartOn(t testing.TB, dir string) *Etcd {
	t.Helper()
	held, err := heldport.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := embed.NewConfig()
	c.Dir = dir
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	c.UnsafeNoFsync = true
	c.TickMs, c.ElectionMs = 10, 100
	c.ListenPeerUrls, c.ListenClientUrls = nil, nil
	c.AdvertiseClientUrls = []url.URL{{Scheme: "http", Host: held.Addr().String()}}
	e := &Etcd{config: c, held: held}
	t.Cleanup(func() {
		e.Stop()
		_ = e.held.Close()
	})
	e.Restart(t)
	return e
}

// Stop stops the member. Its data and its address stay: connections to it end at once.
func (e *Etcd) Stop() {
	m := e.member
	if m == nil {
		return
	}
	m.grpc.Stop()
	<-m.serving
	m.etcd.Close()
	e.held, e.member = heldport.Hold(m.port), nil
}

// Restart starts the member again.
func (e *Etcd) Restart(t testing.TB) {
	t.Helper()
	etcd, err := embed.StartEtcd(e.config)
	if err != nil {
		t.Fatal(err)
	}
	<-etcd.Server.ReadyNotify()
	m := &member{etcd: etcd, grpc: v3rpc.Server(etcd.Server, nil, nil), port: e.held.Release(), serving: make(chan struct{})}
	go func() {
		defer close(m.serving)
		_ = m.grpc.Serve(keptPort{m.port})
	}()
	e.held, e.member = nil, m
}

// keptPort is a listener that stays bound when gRPC closes it.
type keptPort struct{ *net.TCPListener }

// Close ends Accept.
func (p keptPort) Close() error { return p.SetDeadline(time.Unix(1, 0)) }

// Address is where the member listens, without TLS.
func (e *Etcd) Address() string { return e.config.AdvertiseClientUrls[0].Host }

// Endpoint is Address as a URL.
func (e *Etcd) Endpoint() string { return "http://" + e.Address() }

// Client returns a client that is closed at the end of the test.
func (e *Etcd) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Endpoint()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}
