package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// wholePEM refuses what encoding/pem would skip in silence: a file cut short, or
// a block that somebody edited. Without it a lost key would go unnoticed.
func wholePEM(data []byte) error {
	begun := bytes.Count(data, []byte("-----BEGIN "))
	if begun == 0 {
		return errors.New("it holds no PEM block")
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		begun--
	}
	if begun != 0 {
		return errors.New("it holds a damaged PEM block")
	}
	return nil
}

// parseCerts returns the certificates in data, of which there is at least one.
func parseCerts(data []byte) ([]*x509.Certificate, error) {
	if err := wholePEM(data); err != nil {
		return nil, err
	}
	return certutil.ParseCertsPEM(data)
}

// parseKeys returns the private keys in data, of which there is at least one.
// Blocks of other kinds, such as OpenSSL's EC PARAMETERS, are passed over.
func parseKeys(data []byte) ([]crypto.Signer, error) {
	if err := wholePEM(data); err != nil {
		return nil, err
	}
	var keys []crypto.Signer
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, keyutil.PrivateKeyBlockType) {
			continue
		}
		key, err := keyutil.ParsePrivateKeyPEM(pem.EncodeToMemory(block))
		if err != nil {
			return nil, err
		}
		switch key := key.(type) {
		case *ecdsa.PrivateKey:
			keys = append(keys, key)
		case *rsa.PrivateKey:
			keys = append(keys, key)
		default:
			return nil, fmt.Errorf("it holds a %T, where ECDSA or RSA is needed", key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no private key")
	}
	return keys, nil
}

// parsePublicKeys returns the public keys in data, of which there is at least one.
func parsePublicKeys(data []byte) ([]crypto.PublicKey, error) {
	if err := wholePEM(data); err != nil {
		return nil, err
	}
	parsed, err := keyutil.ParsePublicKeysPEM(data)
	if err != nil {
		return nil, err
	}
	keys := make([]crypto.PublicKey, 0, len(parsed))
	for _, key := range parsed {
		keys = append(keys, key)
	}
	return keys, nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certutil.CertificateBlockType, Bytes: der})
}

func encodeCerts(certs []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, cert := range certs {
		b.Write(encodeCert(cert.Raw))
	}
	return b.Bytes()
}

func encodePublicKeys(keys []crypto.PublicKey) ([]byte, error) {
	var b bytes.Buffer
	for _, key := range keys {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return nil, err
		}
		if err := pem.Encode(&b, &pem.Block{Type: keyutil.PublicKeyBlockType, Bytes: der}); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

func samePublicKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}
