// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// serviceAccountKeys is the key of Fingerprints for the keys in sa.key and sa.pub.
const serviceAccountKeys = "sa"

// ErrKeysMissing is returned by CheckKept if a CA or the service-account keys have
// disappeared from a directory or were replaced. New ones would lock out all clients that
// trust the old ones.
var ErrKeysMissing = errors.New("keys are missing that were there before")

// Fingerprints returns the SHA-256 hashes, in hexadecimal, of the certificates and keys
// that all servers of one cluster share. The keys of the map are the base names of the CA
// files ("ca", "front-proxy-ca", "etcd/ca", "kubelet-serving-ca"), and "sa" for the
// service-account keys. During a rotation a name has several hashes. They are not secret.
func (p *PKI) Fingerprints() map[string][]string {
	prints := map[string][]string{}
	for name, bundle := range map[string][]byte{
		clusterCAFile: p.bundle, frontProxyCAFile: p.frontProxyBundle, etcdCAFile: p.etcdBundle,
		kubeletServingCAFile: p.kubeletServingBundle,
	} {
		// Open has parsed it.
		prints[name], _ = certificateFingerprints(bundle)
	}
	prints[serviceAccountKeys] = keyFingerprints(p.saPublic)
	return prints
}

// CheckKept compares the files in c.Dir or c.Import with the Fingerprints of an earlier
// start, before Open replaces missing files. It returns an error that wraps
// ErrKeysMissing if a CA or the service-account keys have no known fingerprint left. One
// known fingerprint of each suffices, as in a rotation. A name that is not in known may
// be new. CheckKept modifies nothing, and leaves unreadable files to Open.
func (c Config) CheckKept(known map[string][]string) error {
	s, err := newStore(c.Dir)
	if err != nil {
		return err
	}
	var imported map[string][]byte
	if len(c.Import) > 0 {
		if imported, err = parseBundle(c.Import); err != nil {
			return fieldpath.New("pki", "Import", "%w", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		var now []string
		var files string
		publicMissing := false
		switch {
		case slices.Contains(caFiles, name):
			files = name + ".crt"
			now, err = s.caFingerprints(files, imported)
		case name == serviceAccountKeys:
			files = saKeyFile + " and " + saPublicFile
			now, publicMissing, err = s.serviceAccountFingerprints(imported)
		default:
			continue // from another version of this package
		}
		switch {
		case errors.Is(err, errUnreadable):
		case err != nil:
			return err
		case len(now) == 0:
			return fmt.Errorf("pki: %w: %s", ErrKeysMissing, s.path(files))
		case publicMissing && slices.ContainsFunc(known[name], func(print string) bool { return !slices.Contains(now, print) }):
			return fmt.Errorf("pki: %w: %s, with the earlier keys that verify existing tokens", ErrKeysMissing, s.path(saPublicFile))
		case !sets.New(known[name]...).HasAny(now...):
			return fmt.Errorf("pki: %w: %s has others now (SHA-256 %s, before %s)", ErrKeysMissing, s.path(files), now, known[name])
		}
	}
	return nil
}

// ErrUnusable is returned by Open if Dir has an unusable CA or key: it is damaged,
// expired or not yet valid, or its key or certificate is missing. The message names the
// files to restore, or to delete for new ones.
var ErrUnusable = errors.New("a key or certificate cannot be used")

// unusable returns an error that is ErrUnusable, without the text of ErrUnusable.
func unusable(format string, args ...any) error {
	return &unusableError{fmt.Errorf("pki: "+format, args...)}
}

type unusableError struct{ error }

func (e *unusableError) Unwrap() error { return e.error }

func (e *unusableError) Is(target error) bool { return target == ErrUnusable }

// errUnreadable means that a file exists and does not parse. Open reports it better.
var errUnreadable = errors.New("unreadable")

func (s *store) caFingerprints(file string, imported map[string][]byte) ([]string, error) {
	data, err := s.peek(file)
	if err != nil || data == nil && imported[file] == nil {
		return nil, err
	}
	if data == nil {
		data = imported[file]
	}
	return certificateFingerprints(data)
}

// serviceAccountFingerprints also reports whether sa.pub is missing beside sa.key. A
// rotation removes keys from sa.pub, but does not delete it.
func (s *store) serviceAccountFingerprints(imported map[string][]byte) (prints []string, publicMissing bool, err error) {
	private, err := s.peek(saKeyFile)
	if err != nil {
		return nil, false, err
	}
	public, err := s.peek(saPublicFile)
	if err != nil {
		return nil, false, err
	}
	if public == nil {
		public = imported[saPublicFile]
	}
	var keys []crypto.PublicKey
	if private != nil {
		signers, err := parseKeys(private)
		if err != nil {
			return nil, false, errUnreadable
		}
		for _, signer := range signers {
			keys = append(keys, signer.Public())
		}
	}
	if public != nil {
		listed, err := parsePublicKeys(public)
		if err != nil {
			return nil, false, errUnreadable
		}
		keys = append(keys, listed...)
	}
	return keyFingerprints(keys), private != nil && public == nil, nil
}

func certificateFingerprints(bundle []byte) ([]string, error) {
	certs, err := parseCerts(bundle)
	if err != nil {
		return nil, errUnreadable
	}
	var prints []string
	for _, cert := range certs {
		prints = append(prints, fingerprint(cert.Raw))
	}
	return sortedSet(prints), nil
}

func keyFingerprints(keys []crypto.PublicKey) []string {
	var prints []string
	for _, key := range keys {
		if der, err := x509.MarshalPKIXPublicKey(key); err == nil {
			prints = append(prints, fingerprint(der))
		}
	}
	return sortedSet(prints)
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func sortedSet(prints []string) []string {
	slices.Sort(prints)
	return slices.Compact(prints)
}
