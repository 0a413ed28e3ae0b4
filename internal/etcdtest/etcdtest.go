// Package etcdtest runs an etcd for tests that reach it over the network, and that
// want it to go away and come back.
package etcdtest

import (
	"net"
	"net/url"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Etcd is one member, in this process, on a loopback address that stays the same.
type Etcd struct {
	config *embed.Config
	etcd   *embed.Etcd // nil while it is away
}

// Start starts an etcd that ends with the test.
func Start(t testing.TB) *Etcd {
	t.Helper()
	return StartOn(t, t.TempDir())
}

// StartOn starts one on a data directory.
func StartOn(t testing.TB, dir string) *Etcd {
	t.Helper()
	c := embed.NewConfig()
	c.Dir = dir
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	c.UnsafeNoFsync = true
	c.TickMs, c.ElectionMs = 10, 100
	c.ListenPeerUrls = nil
	c.ListenClientUrls = []url.URL{{Scheme: "http", Host: freeAddress(t)}}
	c.AdvertiseClientUrls = c.ListenClientUrls
	e := &Etcd{config: c}
	e.Return(t)
	t.Cleanup(e.Leave)
	return e
}

// freeAddress is not kept: etcd must be able to have it again after it was away.
func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// Leave stops it. What it has stored stays.
func (e *Etcd) Leave() {
	if e.etcd != nil {
		e.etcd.Close()
		e.etcd = nil
	}
}

// Return starts it again.
func (e *Etcd) Return(t testing.TB) {
	t.Helper()
	etcd, err := embed.StartEtcd(e.config)
	if err != nil {
		t.Fatal(err)
	}
	<-etcd.Server.ReadyNotify()
	e.etcd = etcd
}

// Address is where it listens, without TLS.
func (e *Etcd) Address() string { return e.config.ListenClientUrls[0].Host }

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
