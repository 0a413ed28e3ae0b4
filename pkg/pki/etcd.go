package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
)

// etcdMemberLeaf describes the certificate of an etcd member: a server to clients
// and members, and a client to members. Other members compare its names with where
// it connects from.
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

// EtcdFiles returns the absolute paths of the files by which an etcd member and
// the others of its cluster know each other: the authority, and the certificate and
// key of Config.EtcdMember, for server and client. They are empty without
// EtcdMember. Renew replaces the pair in place, which etcd notices at its next
// handshake. The authority is none of Kubernetes' own: whoever has a certificate of
// it can read and write everything in etcd.
func (p *PKI) EtcdFiles() (ca, cert, key string) {
	if len(p.cfg.EtcdMember) == 0 {
		return "", "", ""
	}
	return p.store.path(etcdCAFile + ".crt"), p.store.path(etcdMemberFile + ".crt"), p.store.path(etcdMemberFile + ".key")
}
