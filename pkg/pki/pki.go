package pki

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apiserver/pkg/authentication/user"
)

// nodeUserPrefix is what upstream's node identifier (not exported) looks for:
// k8s.io/kubernetes/pkg/auth/nodeidentifier.
const nodeUserPrefix = "system:node:"

// PKI holds every identity of one control plane. It is safe for concurrent use;
// what its methods return is shared and must not be changed.
type PKI struct {
	cfg          Config
	cluster      *CA
	bundle       []byte
	clientCAs    []byte
	frontProxy   *CA
	frontProxies []byte
	etcd         *CA
	etcdBundle   []byte
	// kubeletServing signs for kubelets, and kubeletServings are trusted with it.
	kubeletServing  *CA
	kubeletServings []byte
	saKey           crypto.Signer
	saPublic        []crypto.PublicKey
	certificates    []certificate

	mu    sync.RWMutex // guards what follows
	store *store
	pairs map[string]KeyPair
}

// certificate is a leaf that the API server itself needs. It is kept in the files
// <file>.crt and <file>.key, named as kubeadm does.
type certificate struct {
	file   string
	issuer *CA
	leaf   leaf
}

// The files' base names, which are also the keys of PKI.pairs.
const (
	servingFile          = "apiserver"
	kubeletClientFile    = "apiserver-kubelet-client"
	frontProxyClientFile = "front-proxy-client"
	etcdMemberFile       = "etcd/member"
)

// Renew does for a running control plane what Open does at the start: it makes
// anew those of Serving, KubeletClient, FrontProxyClient and the etcd member's that
// have less than a third of their life left, and reports whether there were any. A
// process that may run for months calls it daily and hands the new pairs on.
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
func (p *PKI) FrontProxyCABundle() []byte { return p.frontProxies }

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

// IssueClient makes a client certificate for username as a member of groups. It is
// not kept. A ttl of zero means one year; none outlives the CA. PKI cannot revoke it; a
// control plane that serves with it can, see controlplane.Server.RevokeKubeconfig.
func (p *PKI) IssueClient(username string, groups []string, ttl time.Duration) (KeyPair, error) {
	switch {
	case username == "":
		return KeyPair{}, errors.New("pki: issuing a client certificate: the user must not be empty")
	case slices.Contains(groups, ""):
		return KeyPair{}, fmt.Errorf("pki: issuing a client certificate for %q: a group must not be empty", username)
	case ttl < 0:
		return KeyPair{}, fmt.Errorf("pki: issuing a client certificate for %q: the ttl must not be negative, but is %s", username, ttl)
	case ttl == 0:
		ttl = leafLifetime
	}
	return p.cluster.issue(clientLeaf(username, groups), p.cfg.Clock.Now(), ttl)
}

// RenewClient returns kp while it is a client certificate for username as a member of
// groups and has more than a third of its life left, and otherwise a new one, of
// IssueClient.
func (p *PKI) RenewClient(kp KeyPair, username string, groups []string) (KeyPair, error) {
	if p.cluster.accepts(kp, clientLeaf(username, groups), p.cfg.Clock.Now()) {
		return kp, nil
	}
	return p.IssueClient(username, groups, 0)
}

// IssueNode makes the client certificate of a kubelet: user system:node:<name>,
// group system:nodes, which is what the node authorizer goes by. A ttl of zero
// means one year.
func (p *PKI) IssueNode(name string, ttl time.Duration) (KeyPair, error) {
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return KeyPair{}, fmt.Errorf("pki: issuing a certificate for node %q: invalid name: %s", name, strings.Join(problems, "; "))
	}
	return p.IssueClient(nodeUserPrefix+name, []string{user.NodesGroup}, ttl)
}

// clientLeaf describes the certificate of a user: upstream reads the name from
// CN and the groups from O.
func clientLeaf(username string, groups []string) leaf {
	return leaf{
		subject: pkix.Name{CommonName: username, Organization: groups},
		usages:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}
