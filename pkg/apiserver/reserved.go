// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"go.uber.org/zap"

	"github.com/kubembed/kubembed/internal/apiserver/presence"
	"github.com/kubembed/kubembed/internal/apiserver/webhook"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Reserve adds hosts to Config.Reserved until the server stops: names and addresses for
// which no node gets a serving certificate. Hosts are
// DNS names and IP addresses, without ports. Other servers of the same etcd know them
// when Reserve returns. If etcd is unavailable, Reserve logs a warning, and the other
// servers learn of them soon after etcd is available again.
func (s *Server) Reserve(ctx context.Context, hosts ...string) error {
	if err := s.presence.Reserve(hosts); err != nil {
		return fmt.Errorf("apiserver: reserve: %w", err)
	}
	if err := s.presence.Publish(ctx); err != nil {
		s.config.Logger.Warn("other servers do not know reserved names yet; they will be published again", zap.Error(err))
	}
	return nil
}

// Reserved returns the names and addresses of all servers that share the etcd, including
// the hosts of Config.Reserved and Reserve of each server, and the DNS names of webhooks
// with a URL.
func (s *Server) Reserved(ctx context.Context) (names []string, addrs []netip.Addr, err error) {
	if err := s.presence.Refresh(ctx); err != nil {
		return nil, nil, fmt.Errorf("apiserver: names of other servers: %w", err)
	}
	hosts, err := webhook.Hosts(ctx, s.client.AdmissionregistrationV1(), s.servesResource, s.crds())
	if err != nil {
		return nil, nil, fmt.Errorf("apiserver: hosts of webhooks: %w", err)
	}
	names, addrs = s.presence.Reserved(hosts)
	return names, addrs, nil
}

// newPresence returns the registry of the names, addresses and endpoints of this server
// and, with Config.Shared, of the other servers.
func newPresence(e *environment, id string) (*presence.Registry, error) {
	cfg := e.config
	config := presence.Config{
		Listener:         cfg.Listener,
		InsecureListener: cfg.InsecureListener,
		PrivateEndpoints: cfg.PrivateEndpoints,
		AdvertiseAddress: cfg.AdvertiseAddress,
		Certificate:      func() []byte { return cfg.PKI.Serving().Cert },
		Local:            cfg.local(),
		EtcdEndpoints:    cfg.etcdEndpoints,
		Logger:           cfg.Logger,
	}
	if cfg.Shared {
		config.Records = presence.NewRecords(e.backend.Client(), e.backend.Keyspace(), id)
	}
	registry := presence.NewRegistry(config)
	if err := registry.Reserve(cfg.Reserved); err != nil {
		return nil, fieldpath.New("apiserver", "Config.Reserved", "%w", err)
	}
	return registry, nil
}

// local reports whether only this machine can connect to the server, so that all nodes
// are on it.
func (c Config) local() bool {
	tcp, ok := c.Listener.Addr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
