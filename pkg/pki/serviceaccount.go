// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"slices"

	"k8s.io/client-go/util/keyutil"
)

const (
	saKeyFile    = "sa.key"
	saPublicFile = "sa.pub"
)

// openServiceAccountKeys returns the key that signs service-account tokens, and all keys
// that verify them, the public key of the first one first. The first key in sa.key signs.
// All keys in sa.key and sa.pub verify. Keys are only added to sa.pub, so a rotation is
// one step: delete sa.key.
func openServiceAccountKeys(s *store) (crypto.Signer, []crypto.PublicKey, error) {
	var signers []crypto.Signer
	data, err := s.read(saKeyFile)
	if err != nil {
		return nil, nil, err
	}
	if data == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, fmt.Errorf("pki: making the service-account key: %w", err)
		}
		if data, err = keyutil.MarshalPrivateKeyToPEM(key); err != nil {
			return nil, nil, fmt.Errorf("pki: encoding the service-account key: %w", err)
		}
		s.put(saKeyFile, data)
		signers = []crypto.Signer{key}
	} else if signers, err = parseKeys(data); err != nil {
		return nil, nil, unusable("reading %s: %w; restore it, or delete it to sign with a new key "+
			"(tokens stay valid as long as %s keeps the old public key)", s.path(saKeyFile), err, saPublicFile)
	}

	var listed []crypto.PublicKey
	if data, err = s.read(saPublicFile); err != nil {
		return nil, nil, err
	}
	if data != nil {
		if listed, err = parsePublicKeys(data); err != nil {
			return nil, nil, unusable("reading %s: %w; restore it, or delete it to trust no key but those in %s "+
				"(tokens signed with older keys become invalid)", s.path(saPublicFile), err, saKeyFile)
		}
	}

	var public []crypto.PublicKey
	for _, signer := range signers {
		public = appendKey(public, signer.Public())
	}
	for _, key := range listed {
		public = appendKey(public, key)
	}
	if len(public) > len(listed) {
		if data, err = encodePublicKeys(public); err != nil {
			return nil, nil, fmt.Errorf("pki: encoding the service-account public keys: %w", err)
		}
		s.put(saPublicFile, data)
	}
	return signers[0], public, nil
}

// appendKey appends key to keys unless keys has it.
func appendKey(keys []crypto.PublicKey, key crypto.PublicKey) []crypto.PublicKey {
	if slices.ContainsFunc(keys, func(k crypto.PublicKey) bool { return samePublicKey(k, key) }) {
		return keys
	}
	return append(keys, key)
}
