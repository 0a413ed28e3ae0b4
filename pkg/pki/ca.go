// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"

	"k8s.io/client-go/util/keyutil"
)

const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	leafLifetime = 365 * 24 * time.Hour

	// clockSkew is the time by which certificates are backdated, for clients whose
	// clock is behind.
	clockSkew = 5 * time.Minute
)

// KeyPair is a certificate and its private key, both in PEM.
type KeyPair struct {
	Cert, Key []byte
}

// TLS returns the pair for use with crypto/tls.
func (kp KeyPair) TLS() (tls.Certificate, error) {
	cert, err := tls.X509KeyPair(kp.Cert, kp.Key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("pki: reading a key pair: %w", err)
	}
	return cert, nil
}

// CA is a certificate authority. It is shared: do not modify its fields.
type CA struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// PEM returns the certificate of the CA.
func (ca *CA) PEM() []byte {
	return encodeCert(ca.Cert.Raw)
}

// Sign issues a certificate for the public key, in PEM. Subject, validity and usages are
// taken from template. Sign generates the serial number and the key identifier, and
// shortens the validity to the end of the CA.
func (ca *CA) Sign(template *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	t := *template
	if t.NotAfter.After(ca.Cert.NotAfter) {
		t.NotAfter = ca.Cert.NotAfter
	}
	if !t.NotAfter.After(t.NotBefore) {
		return nil, fmt.Errorf("pki: signing a certificate for %q: the CA %q expires at %s",
			t.Subject.CommonName, ca.Cert.Subject.CommonName, ca.Cert.NotAfter.Format(time.RFC3339))
	}
	der, err := createCertificate(&t, ca.Cert, public, ca.Key)
	if err != nil {
		return nil, fmt.Errorf("pki: signing a certificate for %q: %w", t.Subject.CommonName, err)
	}
	return encodeCert(der), nil
}

// newCA creates a self-signed CA that is valid from now.
func newCA(name string, now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("pki: making the key of %q: %w", name, err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := createCertificate(template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("pki: signing %q: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("pki: signing %q: %w", name, err)
	}
	return &CA{Cert: cert, Key: key}, nil
}

// leaf describes a leaf certificate.
type leaf struct {
	subject pkix.Name
	usages  []x509.ExtKeyUsage
	names   []string
	ips     []net.IP
}

// issue creates a key and a certificate that is valid from now for ttl, but not longer
// than the CA.
func (ca *CA) issue(l leaf, now time.Time, ttl time.Duration) (KeyPair, error) {
	if now.After(ca.Cert.NotAfter) {
		return KeyPair{}, fmt.Errorf("pki: signing a certificate for %q: the CA %q expired at %s",
			l.subject.CommonName, ca.Cert.Subject.CommonName, ca.Cert.NotAfter.Format(time.RFC3339))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return KeyPair{}, fmt.Errorf("pki: making a key for %q: %w", l.subject.CommonName, err)
	}
	cert, err := ca.Sign(&x509.Certificate{
		Subject:               l.subject,
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(ttl),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           l.usages,
		BasicConstraintsValid: true,
		DNSNames:              l.names,
		IPAddresses:           l.ips,
	}, key.Public())
	if err != nil {
		return KeyPair{}, err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return KeyPair{}, fmt.Errorf("pki: encoding the key for %q: %w", l.subject.CommonName, err)
	}
	return KeyPair{Cert: cert, Key: keyPEM}, nil
}

// accepts reports whether kp can be kept: it parses, is signed by ca, has everything in
// l, and is not near its end.
func (ca *CA) accepts(kp KeyPair, l leaf, now time.Time) bool {
	pair, err := tls.X509KeyPair(kp.Cert, kp.Key)
	if err != nil {
		return false
	}
	cert := pair.Leaf
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	// Verify accepts a certificate with any one of several usages.
	for _, usage := range l.usages {
		if _, err := cert.Verify(x509.VerifyOptions{
			Roots:       roots,
			CurrentTime: now,
			KeyUsages:   []x509.ExtKeyUsage{usage},
		}); err != nil {
			return false
		}
	}
	if cert.Subject.CommonName != l.subject.CommonName || !slices.Equal(cert.Subject.Organization, l.subject.Organization) {
		return false
	}
	for _, name := range l.names {
		if !slices.Contains(cert.DNSNames, name) {
			return false
		}
	}
	for _, ip := range l.ips {
		if !slices.ContainsFunc(cert.IPAddresses, ip.Equal) {
			return false
		}
	}
	// In the last year of the CA, a new certificate would not end later.
	if !cert.NotAfter.Before(ca.Cert.NotAfter) {
		return true
	}
	return cert.NotAfter.Sub(now) >= cert.NotAfter.Sub(cert.NotBefore)/3
}

// createCertificate signs template, after it has set the serial number and the key
// identifier.
func createCertificate(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	if template.SubjectKeyId, err = keyID(public); err != nil {
		return nil, err
	}
	return x509.CreateCertificate(rand.Reader, template, parent, public, signer)
}

// keyID returns the key identifier by method 1 of RFC 7093, which needs no SHA-1.
func keyID(public crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(info.Key.RightAlign())
	return sum[:20], nil
}
