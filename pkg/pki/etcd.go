// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
)

// etcdMemberLeaf returns the leaf of an etcd member. The member is a server for clients
// and other members, and a client of other members, which compare the names with the
// address that it connects from.
func (c Config) etcdMemberLeaf() leaf {
	names, ips := splitHosts(append([]string{"localhost", "127.0.0.1", "::1"}, c.EtcdMember...))
	names, ips = sortNames(names, ips)
	return leaf{
		subject: pkix.Name{CommonName: "kubembed-etcd-member"},
		usages:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		names:   names,
		ips:     ips,
	}
}

// EtcdFiles returns the absolute paths of the files for TLS between etcd members: the CA,
// and the certificate and key of Config.EtcdMember, for server and client. They are empty
// without EtcdMember. Renew replaces the pair in place, and etcd reads it at its next
// handshake. The CA is separate from the CAs of Kubernetes, because a client with one of
// its certificates can read and write everything in etcd.
func (p *PKI) EtcdFiles() (ca, cert, key string) {
	if len(p.cfg.EtcdMember) == 0 {
		return "", "", ""
	}
	return p.store.path(etcdCAFile + ".crt"), p.store.path(etcdMemberFile + ".crt"), p.store.path(etcdMemberFile + ".key")
}
