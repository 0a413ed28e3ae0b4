// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"maps"
)

// certificate is a leaf certificate of the API server. It is stored in the files
// <file>.crt and <file>.key, with the names of kubeadm.
type certificate struct {
	file   string
	issuer *CA
	leaf   leaf
}

// Base names of the files, which are also the keys of PKI.pairs.
const (
	servingFile          = "apiserver"
	kubeletClientFile    = "apiserver-kubelet-client"
	frontProxyClientFile = "front-proxy-client"
	etcdMemberFile       = "etcd/member"
)

// Renew reissues the certificates of Serving, KubeletClient, FrontProxyClient and the
// etcd member that have less than a third of their lifetime left, as Open does. It
// reports whether there were any. A process that runs for months calls it daily and
// passes the new pairs to their users.
func (p *PKI) Renew() (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()

	now := p.cfg.Clock.Now()
	pairs := maps.Clone(p.pairs)
	var renewed []string
	for _, c := range p.certificates {
		if c.issuer.accepts(pairs[c.file], c.leaf, now) {
			continue
		}
		kp, err := c.issuer.issue(c.leaf, now, leafLifetime)
		if err != nil {
			return false, err
		}
		pairs[c.file] = kp
		renewed = append(renewed, c.file)
	}
	for _, file := range renewed {
		p.store.put(file+".key", pairs[file].Key)
		p.store.put(file+".crt", pairs[file].Cert)
	}
	if err := p.store.flush(); err != nil {
		return false, err
	}
	p.pairs = pairs
	return len(renewed) > 0, nil
}
