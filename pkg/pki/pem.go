// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

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

// checkPEM returns an error for blocks that encoding/pem would skip silently: in a
// truncated file, or after an edit. A missing key would remain unnoticed.
func checkPEM(data []byte) error {
	missing := bytes.Count(data, []byte("-----BEGIN "))
	if missing == 0 {
		return errors.New("no PEM block")
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		missing--
	}
	if missing != 0 {
		return errors.New("a damaged PEM block")
	}
	return nil
}

// parseCerts returns the certificates in data, at least one.
func parseCerts(data []byte) ([]*x509.Certificate, error) {
	if err := checkPEM(data); err != nil {
		return nil, err
	}
	return certutil.ParseCertsPEM(data)
}

// parseKeys returns the private keys in data, at least one. It skips other blocks, such
// as OpenSSL's EC PARAMETERS.
func parseKeys(data []byte) ([]crypto.Signer, error) {
	if err := checkPEM(data); err != nil {
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
			return nil, fmt.Errorf("a key is a %T, want ECDSA or RSA", key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no private key")
	}
	return keys, nil
}

// parsePublicKeys returns the public keys in data, at least one.
func parsePublicKeys(data []byte) ([]crypto.PublicKey, error) {
	if err := checkPEM(data); err != nil {
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
