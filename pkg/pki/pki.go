// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"slices"
	"sync"
)

// PKI holds the identities of one control plane. It is safe for concurrent use. The
// results of its methods are shared and must not be modified.
type PKI struct {
	cfg              Config
	cluster          *CA
	bundle           []byte
	clientCAs        []byte
	frontProxy       *CA
	frontProxyBundle []byte
	etcd             *CA
	etcdBundle       []byte
	// kubeletServing signs for kubelets, and kubeletServingBundle is trusted for them.
	kubeletServing       *CA
	kubeletServingBundle []byte
	saKey                crypto.Signer
	saPublic             []crypto.PublicKey
	certificates         []certificate

	mu    sync.RWMutex // guards the fields below
	store *store
	pairs map[string]KeyPair
}

// CABundle returns, in PEM, the CAs that clients trust for the API server and that the
// API server trusts for clients: CA, and any further certificate in the file ca.crt.
func (p *PKI) CABundle() []byte { return p.bundle }

// ClientCAs returns, in PEM, all CAs that the API server trusts for clients: CABundle
// and Config.ClientCAs.
func (p *PKI) ClientCAs() []byte { return p.clientCAs }

// CA returns the CA of the cluster. It signs the serving certificate of the API server,
// the certificates of IssueServing, and client certificates.
func (p *PKI) CA() *CA { return p.cluster }

// FrontProxyCA returns the CA that signs FrontProxyClient and nothing else. It is
// separate from CA because a client with one of its certificates can act as any user.
func (p *PKI) FrontProxyCA() *CA { return p.frontProxy }

// FrontProxyCABundle returns, in PEM, the CAs that are trusted for front proxies:
// FrontProxyCA, and any further certificate in its file.
func (p *PKI) FrontProxyCABundle() []byte { return p.frontProxyBundle }

// Serving returns the serving certificate of the API server: Config.Serving, or a
// certificate signed by CA.
func (p *PKI) Serving() KeyPair { return p.pair(servingFile) }

// FrontProxyClient returns the client certificate with which the API server forwards
// requests to extension API servers. Its user is "front-proxy-client".
func (p *PKI) FrontProxyClient() KeyPair { return p.pair(frontProxyClientFile) }

// KubeletClient returns the client certificate with which the API server connects to
// kubelets. Its user is "kube-apiserver-kubelet-client" in no group: bind it to the role
// system:kubelet-api-admin.
func (p *PKI) KubeletClient() KeyPair { return p.pair(kubeletClientFile) }

func (p *PKI) pair(file string) KeyPair {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.pairs[file]
}

// ServiceAccountKey returns the key that signs service-account tokens: an
// *ecdsa.PrivateKey, or an *rsa.PrivateKey if the directory has one.
func (p *PKI) ServiceAccountKey() crypto.Signer { return p.saKey }

// ServiceAccountPublicKeys returns the keys that verify service-account tokens: the
// public key of ServiceAccountKey, then earlier ones from the file sa.pub. To rotate,
// delete sa.key and open the directory again.
func (p *PKI) ServiceAccountPublicKeys() []crypto.PublicKey { return slices.Clone(p.saPublic) }
