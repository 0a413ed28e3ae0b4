// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package clusterconfig validates the configuration of members and of connections to an
// external etcd, and derives TLS settings, tokens and listeners from it.
package clusterconfig

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/etcd/heldport"
	"github.com/kubembed/kubembed/internal/etcd/memberaddr"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Cluster is etcd.Cluster, which documents the fields.
type Cluster struct {
	Name           string
	PeerAddr       string
	ClientAddr     string
	InitialCluster map[string]string
	Join           []string
	CA, Cert, Key  string
}

// Clone returns a deep copy.
func (c *Cluster) Clone() *Cluster {
	if c == nil {
		return nil
	}
	clone := *c
	clone.InitialCluster, clone.Join = maps.Clone(c.InitialCluster), slices.Clone(c.Join)
	return &clone
}

// Validate reports every problem of c below a path. It reads no file.
func (c *Cluster) Validate(at *field.Path) (errs field.ErrorList) {
	if c.Name == "" {
		errs = append(errs, field.Required(at.Child("Name"), "name this member of the cluster"))
	}
	address := func(at *field.Path, value string, zero bool) {
		ip, err := netip.ParseAddrPort(value)
		if err != nil || !zero && ip.Port() == 0 || ip.Addr().Unmap().IsUnspecified() {
			errs = append(errs, field.Invalid(at, value, `must be an IP address and a port, like "10.0.0.1:2380"`))
		}
	}
	if c.PeerAddr == "" {
		errs = append(errs, field.Required(at.Child("PeerAddr"), `where the other members reach this one, like "10.0.0.1:2380"`))
	} else {
		address(at.Child("PeerAddr"), c.PeerAddr, false)
	}
	if c.ClientAddr != "" {
		address(at.Child("ClientAddr"), c.ClientAddr, true)
		if c.ClientAddr == c.PeerAddr {
			errs = append(errs, fieldpath.Detail(field.Invalid(at.Child("ClientAddr"), c.ClientAddr, ""), "the same as %s: choose another port", fieldpath.NameOf(at.Child("PeerAddr"))))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.InitialCluster)) {
		at := at.Child("InitialCluster").Key(name)
		address(at, c.InitialCluster[name], false)
		for other, value := range c.InitialCluster {
			if other < name && value == c.InitialCluster[name] {
				errs = append(errs, field.Duplicate(at, value))
			}
		}
	}
	for i, value := range c.Join {
		address(at.Child("Join").Index(i), value, false)
	}
	switch own, ok := c.InitialCluster[c.Name]; {
	case len(c.Join) > 0 && len(c.InitialCluster) > 0:
		errs = append(errs, fieldpath.Detail(field.Forbidden(at.Child("Join"), ""), "%s is set too: a member either begins a cluster or joins one", fieldpath.NameOf(at.Child("InitialCluster"))))
	case len(c.Join) > 0:
	case len(c.InitialCluster) == 0:
		errs = append(errs, fieldpath.Detail(field.Required(at.Child("InitialCluster"), ""), "the first members' names and addresses, or %s for a cluster that runs", fieldpath.NameOf(at.Child("Join"))))
	case !ok && c.Name != "":
		errs = append(errs, fieldpath.Detail(field.Invalid(at.Child("InitialCluster"), c.InitialCluster, ""), "must contain %q, the %s of this member", c.Name, fieldpath.NameOf(at.Child("Name"))))
	case ok && c.PeerAddr != "" && own != c.PeerAddr:
		errs = append(errs, fieldpath.Detail(field.Invalid(at.Child("InitialCluster").Key(c.Name), own, ""), "must be %s, which is %s", fieldpath.NameOf(at.Child("PeerAddr")), c.PeerAddr))
	}
	return errs
}

// ValidateFiles reports every problem of the certificates.
func (c *Cluster) ValidateFiles(at *field.Path) (errs field.ErrorList) {
	for _, f := range []struct{ name, file string }{{"CA", c.CA}, {"Cert", c.Cert}, {"Key", c.Key}} {
		if f.file == "" {
			errs = append(errs, field.Required(at.Child(f.name), "members authenticate each other by certificates"))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return External{CA: c.CA, Cert: c.Cert, Key: c.Key}.validateFiles(at, false)
}

// TLSInfo returns the TLS settings of servers and clients. A member with several
// addresses may connect from one that its certificate does not have, so only the CA is
// checked, which signs certificates for members only.
func (c *Cluster) TLSInfo() transport.TLSInfo {
	return transport.TLSInfo{
		TrustedCAFile: c.CA, CertFile: c.Cert, KeyFile: c.Key, ClientCertFile: c.Cert, ClientKeyFile: c.Key,
		ClientCertAuth: true, SkipClientSANVerify: true, Logger: zap.NewNop(),
	}
}

// Token distinguishes clusters of different CAs at the same addresses.
func (c *Cluster) Token() (string, error) {
	ca, err := os.ReadFile(c.CA)
	if err != nil {
		return "", fieldpath.New("etcd", "Config.Cluster.CA", "%w", err)
	}
	sum := sha256.Sum256(ca)
	return "kubembed-" + hex.EncodeToString(sum[:8]), nil
}

// ListenClients binds ClientAddr, so that its port is known before etcd starts.
func (c *Cluster) ListenClients() (net.Listener, error) {
	address := c.ClientAddr
	if address == "" {
		address = net.JoinHostPort(memberaddr.Host(c.PeerAddr), "0")
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fieldpath.New("etcd", "Config.Cluster.ClientAddr", "%w: choose an address of this machine with a free port", err)
	}
	return listener, nil
}

// ListenPeers binds PeerAddr. The listener refuses other members until it is served.
func (c *Cluster) ListenPeers() (*heldport.Listener, error) {
	listener, err := heldport.Listen(c.PeerAddr)
	if err != nil {
		return nil, fieldpath.New("etcd", "Config.Cluster.PeerAddr", "%w: choose an address of this machine with a free port", err)
	}
	return listener, nil
}

// ServeTLS returns the TLS configuration of the servers for peers and clients.
func (c *Cluster) ServeTLS() (*tls.Config, error) {
	info := c.TLSInfo()
	config, err := info.ServerConfig()
	if err != nil {
		return nil, fieldpath.New("etcd", "Config.Cluster", "%w", err)
	}
	config.MinVersion = tls.VersionTLS12
	return config, nil
}
