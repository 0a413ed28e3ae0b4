// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/util/keyutil"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Open loads the identities in cfg.Dir, creates missing ones, and renews certificates
// that are about to expire. It reissues a certificate of the API server that is damaged,
// was signed by another CA or lacks a name. A damaged CA or service-account key is an
// error that names the file and the remedy, because a new one would lock out all clients
// that trust the old one.
//
// An Open that fails leaves no new file or directory behind.
func Open(cfg Config) (*PKI, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Dir != "" {
		dir, err := filepath.Abs(cfg.Dir)
		if err != nil {
			return nil, fieldpath.New("pki", "Dir", "%w", err)
		}
		cfg.Dir = dir
	}
	s, err := newStore(cfg.Dir)
	if err != nil {
		return nil, err
	}
	return open(cfg.withDefaults(), s)
}

func open(cfg Config, s *store) (*PKI, error) {
	p := &PKI{cfg: cfg, store: s, pairs: map[string]KeyPair{}}
	if len(cfg.Import) > 0 {
		if err := s.adopt(cfg.Import); err != nil {
			return nil, err
		}
	}

	cluster, trusted, err := p.openCA(clusterCAFile, "kubembed-ca",
		"all kubeconfigs and node certificates become invalid", servingFile, kubeletClientFile)
	if err != nil {
		return nil, err
	}
	frontProxy, frontProxyBundle, err := p.openCA(frontProxyCAFile, "kubembed-front-proxy-ca",
		"extension API servers must read the new one", frontProxyClientFile)
	if err != nil {
		return nil, err
	}
	// Always created, for Export.
	etcd, etcds, err := p.openCA(etcdCAFile, "kubembed-etcd-ca",
		"all members of the cluster must have the new one", etcdMemberFile)
	if err != nil {
		return nil, err
	}
	kubeletServing, kubeletServingBundle, err := p.openKubeletServing(cluster)
	if err != nil {
		return nil, err
	}
	p.kubeletServing, p.kubeletServingBundle = kubeletServing, encodeCerts(kubeletServingBundle)
	p.cluster, p.frontProxy, p.etcd = cluster, frontProxy, etcd
	p.bundle, p.frontProxyBundle, p.etcdBundle = encodeCerts(trusted), encodeCerts(frontProxyBundle), encodeCerts(etcds)
	p.clientCAs = slices.Concat(p.bundle, cfg.ClientCAs)
	if p.saKey, p.saPublic, err = openServiceAccountKeys(s); err != nil {
		return nil, err
	}

	p.certificates = []certificate{
		{kubeletClientFile, cluster, clientLeaf("kube-apiserver-kubelet-client", nil)},
		{frontProxyClientFile, frontProxy, clientLeaf("front-proxy-client", nil)},
	}
	if cfg.Serving.Cert != nil {
		p.pairs[servingFile] = cfg.Serving
	} else {
		names, ips := cfg.servingNames()
		p.certificates = append([]certificate{{servingFile, cluster, leaf{
			subject: pkix.Name{CommonName: "kube-apiserver"},
			usages:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			names:   names,
			ips:     ips,
		}}}, p.certificates...)
	}
	if len(cfg.EtcdMember) > 0 {
		p.certificates = append(p.certificates, certificate{etcdMemberFile, etcd, cfg.etcdMemberLeaf()})
	}
	for _, c := range p.certificates {
		var kp KeyPair
		if kp.Cert, err = s.read(c.file + ".crt"); err != nil {
			return nil, err
		}
		if kp.Key, err = s.read(c.file + ".key"); err != nil {
			return nil, err
		}
		p.pairs[c.file] = kp
	}
	if _, err := p.Renew(); err != nil {
		return nil, err
	}
	return p, nil
}

// openCA loads the CA in <file>.crt and <file>.key, or plans a new one if no CA was ever
// used. A key without its certificate is left by a crash in the first Open, unless the
// key has already signed one of the files in signed. consequence describes the effect of
// a new CA, for errors.
func (p *PKI) openCA(file, name, consequence string, signed ...string) (*CA, []*x509.Certificate, error) {
	certFile, keyFile := file+".crt", file+".key"
	broken := func(ext string, problem error) error {
		return unusable("the CA in %s cannot be used: %w; restore the file, or delete %s and %s to create a new CA (%s)",
			p.store.path(file+ext), problem, certFile, keyFile, consequence)
	}

	certPEM, err := p.store.read(certFile)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := p.store.read(keyFile)
	if err != nil {
		return nil, nil, err
	}
	if certPEM == nil {
		if keyPEM != nil {
			for _, leaf := range signed {
				if data, err := p.store.read(leaf + ".crt"); err != nil {
					return nil, nil, err
				} else if data != nil {
					return nil, nil, broken(".crt", fmt.Errorf("it is missing, but %s.crt was signed with its key", leaf))
				}
			}
		}
		return p.makeCA(certFile, keyFile, name)
	}
	if keyPEM == nil {
		return nil, nil, broken(".key", errors.New("it is missing"))
	}

	keys, err := parseKeys(keyPEM)
	if err != nil {
		return nil, nil, broken(".key", err)
	}
	certs, err := parseCerts(certPEM)
	if err != nil {
		return nil, nil, broken(".crt", err)
	}
	cert := certs[0]
	now := p.cfg.Clock.Now()
	switch {
	case !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return nil, nil, broken(".crt", errors.New("its first certificate is not a CA certificate"))
	case !samePublicKey(keys[0].Public(), cert.PublicKey):
		return nil, nil, broken(".key", fmt.Errorf("it is not the key of %s", certFile))
	case now.After(cert.NotAfter):
		return nil, nil, broken(".crt", fmt.Errorf("it expired at %s", cert.NotAfter.Format(time.RFC3339)))
	case now.Before(cert.NotBefore):
		// Most likely a machine that boots without a battery-backed clock.
		return nil, nil, unusable("the CA in %s is not valid before %s, but the clock is at %s: set the clock; if it is right now and was wrong when the CA was created, replace %s and %s, or delete both to create a new CA (%s)",
			p.store.path(certFile), cert.NotBefore.Format(time.RFC3339), now.UTC().Format(time.RFC3339), certFile, keyFile, consequence)
	}
	return &CA{Cert: cert, Key: keys[0]}, certs, nil
}

// makeCA plans the files of a new CA, the key first: see openCA.
func (p *PKI) makeCA(certFile, keyFile, name string) (*CA, []*x509.Certificate, error) {
	ca, err := newCA(name, p.cfg.Clock.Now())
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(ca.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: encoding the key of %q: %w", name, err)
	}
	p.store.put(keyFile, keyPEM)
	p.store.put(certFile, ca.PEM())
	return ca, []*x509.Certificate{ca.Cert}, nil
}
