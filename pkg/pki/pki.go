package pki

import (
	"crypto"
	"slices"
	"sync"
)

// PKI holds every identity of one control plane. It is safe for concurrent use;
// what its methods return is shared and must not be changed.
type PKI struct {
	cfg          Config
	cluster      *CA
	bundle       []byte
	clientCAs    []byte
	frontProxy   *CA
	frontProxyBundle []byte
	etcd         *CA
	etcdBundle   []byte
	// kubeletServing signs for kubelets, and kubeletServingBundle are trusted with it.
	kubeletServing  *CA
	kubeletServingBundle []byte
	saKey           crypto.Signer
	saPublic        []crypto.PublicKey
	certificates    []certificate

	mu    sync.RWMutex // guards what follows
	store *store
	pairs map[string]KeyPair
}

// CABundle returns, in PEM, the certificates by which clients trust the API
// server and the API server trusts clients: that of CA, and any that stand after
// it in the file ca.crt.
func (p *PKI) CABundle() []byte { return p.bundle }

// ClientCAs returns, in PEM, all that the API server trusts clients by: CABundle and
// Config.ClientCAs.
func (p *PKI) ClientCAs() []byte { return p.clientCAs }

// CA returns the authority that signs the API server's serving certificate, those of
// IssueServing, and client certificates.
func (p *PKI) CA() *CA { return p.cluster }

// FrontProxyCA returns the authority that signs FrontProxyClient and nothing
// else. Whoever it vouches for may act as any user, so it is not CA.
func (p *PKI) FrontProxyCA() *CA { return p.frontProxy }

// FrontProxyCABundle returns, in PEM, the certificates by which a front proxy is
// trusted: that of FrontProxyCA, and any that stand after it in its file.
func (p *PKI) FrontProxyCABundle() []byte { return p.frontProxyBundle }

// Serving returns the API server's serving certificate: Config.Serving, or one that
// CA has signed.
func (p *PKI) Serving() KeyPair { return p.pair(servingFile) }

// FrontProxyClient returns the certificate with which the API server passes
// requests on to extension API servers. Its user is "front-proxy-client".
func (p *PKI) FrontProxyClient() KeyPair { return p.pair(frontProxyClientFile) }

// KubeletClient returns the certificate with which the API server calls kubelets.
// Its user is "kube-apiserver-kubelet-client" in no group: bind it to the role
// system:kubelet-api-admin.
func (p *PKI) KubeletClient() KeyPair { return p.pair(kubeletClientFile) }

func (p *PKI) pair(file string) KeyPair {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.pairs[file]
}

// ServiceAccountKey returns the key that signs service-account tokens: an
// *ecdsa.PrivateKey, or an *rsa.PrivateKey if somebody put one in the directory.
func (p *PKI) ServiceAccountKey() crypto.Signer { return p.saKey }

// ServiceAccountPublicKeys returns the keys that verify service-account tokens:
// that of ServiceAccountKey, then those of earlier ones, which are in the file
// sa.pub. To rotate, delete sa.key and open the directory again.
func (p *PKI) ServiceAccountPublicKeys() []crypto.PublicKey { return slices.Clone(p.saPublic) }
