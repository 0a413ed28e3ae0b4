// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kubembed/kubembed/pkg/etcd"
	"github.com/kubembed/kubembed/pkg/pki"
)

// startExternal starts an etcd with TLS: a cluster of one member, which listens.
func startExternal(t *testing.T) (endpoint string, cfg etcd.Config) {
	t.Helper()
	c := newTestCluster(t, "a")
	address := c.first["a"]
	cfg = c.config("a", address, nil)
	cfg.Cluster.ClientAddr = strings.Replace(address, ":2380", ":2379", 1)
	m, err := startMember(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return "https://" + cfg.Cluster.ClientAddr, cfg
}

func TestConnect(t *testing.T) {
	endpoint, cfg := startExternal(t)
	remote := etcd.ExternalConfig{Endpoints: []string{endpoint}, CA: cfg.Cluster.CA, Cert: cfg.Cluster.Cert, Key: cfg.Cluster.Key}
	// An endpoint that is down does no harm.
	remote.Endpoints = append(remote.Endpoints, "https://"+peerAddr())
	connection, err := etcd.Connect(t.Context(), remote)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	mustPut(t, connection.Client(), "k", "v")

	dialled, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"passthrough:///embedded"},
		DialOptions: []grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return connection.DialContext(ctx, "", "") }),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	wantValue(t, dialled, "k", "v")
	status, err := dialled.Status(t.Context(), "passthrough:///embedded")
	if err != nil || status.Version == "" {
		t.Errorf("status: %v, %v", status, err)
	}
	if err := connection.Close(); err != nil {
		t.Error(err)
	}
	if err := connection.Close(); err != nil {
		t.Error(err)
	}
	if _, err := connection.DialContext(t.Context(), "", ""); !errors.Is(err, etcd.ErrClosed) {
		t.Errorf("dial after close: %v", err)
	}
}

// TestConnectReturnsReasons: gRPC reports only that the deadline has passed.
func TestConnectReturnsReasons(t *testing.T) {
	endpoint, cfg := startExternal(t)
	other, err := pki.Open(pki.Config{Dir: t.TempDir(), EtcdMember: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	otherCA, otherCert, otherKey := other.EtcdFiles()
	ca := cfg.Cluster.CA
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	closed := "https://" + peerAddr()
	for name, test := range map[string]struct {
		remote etcd.ExternalConfig
		want   []string
	}{
		"nobody listens":      {etcd.ExternalConfig{Endpoints: []string{closed}, CA: ca}, []string{closed, "connection refused"}},
		"another CA":          {etcd.ExternalConfig{Endpoints: []string{endpoint}, CA: otherCA}, []string{endpoint, "certificate signed by unknown authority"}},
		"no certificate":      {etcd.ExternalConfig{Endpoints: []string{endpoint}, CA: ca}, []string{endpoint, "certificate required"}},
		"another certificate": {etcd.ExternalConfig{Endpoints: []string{endpoint}, CA: ca, Cert: otherCert, Key: otherKey}, []string{endpoint, "tls: "}},
		"no answer":           {etcd.ExternalConfig{Endpoints: []string{"http://" + silent.Addr().String()}}, []string{silent.Addr().String(), "no answer"}},
		"http for https":      {etcd.ExternalConfig{Endpoints: []string{strings.Replace(endpoint, "https", "http", 1)}}, []string{"no answer"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connection, err := etcd.Connect(t.Context(), test.remote)
			if err == nil {
				_ = connection.Close()
			}
			if !errors.Is(err, etcd.ErrUnreachable) || !strings.HasPrefix(err.Error(), "etcd: connect: ExternalConfig.Endpoints: ") {
				t.Fatalf("got %v", err)
			}
			for _, text := range test.want {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("got %v, want %q in it", err, text)
				}
			}
		})
	}
}

// TestConnectValidates: an invalid configuration is not dialled, and the error has the
// field.
func TestConnectValidates(t *testing.T) {
	for _, err := range []error{
		etcd.ExternalConfig{}.Validate(),
		func() error { _, err := etcd.Connect(t.Context(), etcd.ExternalConfig{}); return err }(),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "etcd: invalid ExternalConfig: Endpoints:") {
			t.Errorf("got %v", err)
		}
	}
}
