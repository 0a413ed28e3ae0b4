// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
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

func TestExternalConfigValidate(t *testing.T) {
	dir := t.TempDir()
	p, err := pki.Open(pki.Config{Dir: dir, EtcdMember: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	ca, cert, key := p.EtcdFiles()
	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	https, plain := []string{"https://10.0.0.1:2379"}, []string{"http://10.0.0.1:2379"}
	for name, test := range map[string]struct {
		remote etcd.ExternalConfig
		want   string
	}{
		"no endpoint":      {etcd.ExternalConfig{}, "Endpoints"},
		"no port":          {etcd.ExternalConfig{Endpoints: []string{"https://10.0.0.1"}}, "Endpoints[0]"},
		"no scheme":        {etcd.ExternalConfig{Endpoints: []string{"10.0.0.1:2379"}}, "Endpoints[0]"},
		"a path":           {etcd.ExternalConfig{Endpoints: []string{"https://10.0.0.1:2379/v3"}}, "Endpoints[0]"},
		"mixed":            {etcd.ExternalConfig{Endpoints: []string{https[0], "http://10.0.0.2:2379"}}, "Endpoints[1]"},
		"twice":            {etcd.ExternalConfig{Endpoints: []string{https[0], https[0]}}, "Endpoints[1]"},
		"a CA for http":    {etcd.ExternalConfig{Endpoints: plain, CA: ca}, "CA"},
		"no key":           {etcd.ExternalConfig{Endpoints: https, Cert: cert}, "Key"},
		"no certificate":   {etcd.ExternalConfig{Endpoints: https, Key: key}, "Cert"},
		"another's key":    {etcd.ExternalConfig{Endpoints: https, Cert: ca, Key: key}, "Cert"},
		"a CA that is not": {etcd.ExternalConfig{Endpoints: https, CA: junk}, "CA"},
		"a missing file":   {etcd.ExternalConfig{Endpoints: https, CA: filepath.Join(dir, "none")}, "CA"},
	} {
		if err := test.remote.Validate(); err == nil || !strings.Contains(err.Error(), test.want+":") {
			t.Errorf("%s: got %v, want %s in it", name, err, test.want)
		}
	}
	if err := (etcd.ExternalConfig{Endpoints: https, CA: ca, Cert: cert, Key: key}).Validate(); err != nil {
		t.Error(err)
	}
}
