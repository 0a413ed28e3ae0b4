// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	"k8s.io/client-go/util/keyutil"
)

// The common name of the CA, and the labels for deriving it. Labels never change: servers
// that derive different keys do not trust each other's kubelets.
const (
	kubeletServingCAName  = "kubembed-kubelet-serving-ca"
	kubeletServingKey     = "kubembed kubelet-serving-ca key v1"
	kubeletServingSerial  = "kubembed kubelet-serving-ca serial v1"
	maxKeyDerivationTries = 8
)

// openKubeletServing loads the CA of kubelet serving certificates. Directories and
// bundles of older releases lack it. It is then derived from the cluster's CA. The result
// is the same on all servers of a cluster, in whatever order they are upgraded.
func (p *PKI) openKubeletServing(cluster *CA) (*CA, []*x509.Certificate, error) {
	cert, err := p.store.read(kubeletServingCAFile + ".crt")
	if err != nil {
		return nil, nil, err
	}
	if cert != nil {
		return p.openCA(kubeletServingCAFile, kubeletServingCAName, "kubelets must renew their serving certificates")
	}
	ca, err := deriveKubeletServing(cluster)
	if err != nil {
		return nil, nil, err
	}
	key, err := keyutil.MarshalPrivateKeyToPEM(ca.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: encoding the key of %q: %w", kubeletServingCAName, err)
	}
	// The key first: after a crash before the second write, both are derived again.
	p.store.put(kubeletServingCAFile+".key", key)
	p.store.put(kubeletServingCAFile+".crt", ca.PEM())
	return ca, []*x509.Certificate{ca.Cert}, nil
}

// deriveKubeletServing derives the CA of kubelet serving certificates from the key and
// the validity of cluster. The result is the same to the last byte. The derivation is
// one-way: the key of this CA does not reveal the key of the cluster.
func deriveKubeletServing(cluster *CA) (*CA, error) {
	key, err := deriveKey(cluster.Key, kubeletServingKey)
	if err != nil {
		return nil, fmt.Errorf("pki: making the key of %q: %w", kubeletServingCAName, err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("pki: encoding the key of %q: %w", kubeletServingCAName, err)
	}
	sum := sha256.Sum256(append([]byte(kubeletServingSerial), public...))
	id, err := keyID(key.Public())
	if err != nil {
		return nil, fmt.Errorf("pki: signing %q: %w", kubeletServingCAName, err)
	}
	template := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(sum[:16]),
		Subject:               pkix.Name{CommonName: kubeletServingCAName},
		NotBefore:             cluster.Cert.NotBefore,
		NotAfter:              latest(cluster.Cert.NotAfter, cluster.Cert.NotBefore.Add(caLifetime)),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		SubjectKeyId:          id,
	}
	// Without a source of random numbers the signature is deterministic (RFC 6979).
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("pki: signing %q: %w", kubeletServingCAName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("pki: signing %q: %w", kubeletServingCAName, err)
	}
	return &CA{Cert: cert, Key: key}, nil
}

// deriveKey derives an ECDSA key for label from the secret part of another key.
func deriveKey(from crypto.Signer, label string) (*ecdsa.PrivateKey, error) {
	var secret []byte
	switch from := from.(type) {
	case *ecdsa.PrivateKey:
		scalar, err := from.Bytes()
		if err != nil {
			return nil, err
		}
		secret = scalar
	case *rsa.PrivateKey:
		secret = from.D.Bytes()
	default:
		return nil, fmt.Errorf("the CA has a %T, want ECDSA or RSA", from)
	}
	// One of 2^32 results is not a scalar of the curve. Then the next one is tried.
	for try := range maxKeyDerivationTries {
		data, err := hkdf.Key(sha256.New, secret, nil, fmt.Sprintf("%s %d", label, try), 32)
		if err != nil {
			return nil, err
		}
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), data); err == nil {
			return key, nil
		}
	}
	return nil, errors.New("no key could be derived")
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// KubeletServingCA returns the CA that signs kubelet serving certificates and nothing
// else. The API server trusts it for kubelets only, each for its own node. Clients of the
// API server do not trust it. Other programs that connect to kubelets, such as
// metrics-server or Prometheus, need KubeletServingCABundle.
func (p *PKI) KubeletServingCA() *CA { return p.kubeletServing }

// KubeletServingCABundle returns, in PEM, the CAs that are trusted for kubelet serving
// certificates: KubeletServingCA, and any further certificate in the file
// kubelet-serving-ca.crt. It does not contain CABundle, whose CA signed these
// certificates in older releases.
func (p *PKI) KubeletServingCABundle() []byte { return p.kubeletServingBundle }
