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

	// clockSkew is how far behind a client's clock may be and still accept a
	// certificate that was made this moment.
	clockSkew = 5 * time.Minute
)

// KeyPair is a certificate and its private key, both in PEM.
type KeyPair struct {
	Cert, Key []byte
}

// TLS returns the pair in the form that crypto/tls wants.
func (kp KeyPair) TLS() (tls.Certificate, error) {
	cert, err := tls.X509KeyPair(kp.Cert, kp.Key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("pki: reading a key pair: %w", err)
	}
	return cert, nil
}

// CA is a certificate authority: what signs, and what clients and servers
// trust. It is shared: do not change its fields.
type CA struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// PEM returns the authority's certificate.
func (ca *CA) PEM() []byte {
	return encodeCert(ca.Cert.Raw)
}

// Sign returns a certificate for public, in PEM. The template says who it is for,
// from when to when, and for which uses; Sign draws the serial number, derives
// the key identifier, and lets nothing outlive the authority.
func (ca *CA) Sign(template *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	t := *template
	if t.NotAfter.After(ca.Cert.NotAfter) {
		t.NotAfter = ca.Cert.NotAfter
	}
	if !t.NotAfter.After(t.NotBefore) {
		return nil, fmt.Errorf("pki: signing a certificate for %q: the authority %q ends at %s",
			t.Subject.CommonName, ca.Cert.Subject.CommonName, ca.Cert.NotAfter.Format(time.RFC3339))
	}
	der, err := createCertificate(&t, ca.Cert, public, ca.Key)
	if err != nil {
		return nil, fmt.Errorf("pki: signing a certificate for %q: %w", t.Subject.CommonName, err)
	}
	return encodeCert(der), nil
}

// newCA makes a self-signed CA that begins now.
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

// leaf describes a certificate that signs nothing itself.
type leaf struct {
	subject pkix.Name
	usages  []x509.ExtKeyUsage
	names   []string
	ips     []net.IP
}

// issue makes a key and a certificate that begins now and lasts for ttl, or as
// long as the authority if that is shorter.
func (ca *CA) issue(l leaf, now time.Time, ttl time.Duration) (KeyPair, error) {
	if now.After(ca.Cert.NotAfter) {
		return KeyPair{}, fmt.Errorf("pki: signing a certificate for %q: the authority %q expired at %s",
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

// accepts reports whether kp is good enough to be kept: whole, signed by a, for
// everything that l asks for, and not near its end.
func (ca *CA) accepts(kp KeyPair, l leaf, now time.Time) bool {
	pair, err := tls.X509KeyPair(kp.Cert, kp.Key)
	if err != nil {
		return false
	}
	cert := pair.Leaf
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	// Verify is content with any one of several usages.
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
	// In the authority's last year a new certificate would end no later.
	if !cert.NotAfter.Before(ca.Cert.NotAfter) {
		return true
	}
	return cert.NotAfter.Sub(now) >= cert.NotAfter.Sub(cert.NotBefore)/3
}

// createCertificate adds to template what every certificate has.
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

// keyID is method 1 of RFC 7093, which needs no SHA-1.
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
