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

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// serviceAccountKeys is the key of Fingerprints for the keys in sa.key and sa.pub.
const serviceAccountKeys = "sa"

// ErrKeysMissing says that a CA or the service-account keys were in a directory, and are not
// there any more, or are others now. New ones would lock out everybody who trusts the
// old.
var ErrKeysMissing = errors.New("keys are missing that were there before")

// Fingerprints returns the SHA-256, in hexadecimal, of everything that all servers of
// one cluster have in common: of the certificates of each CA, by its file's base name
// ("ca", "front-proxy-ca", "etcd/ca", "kubelet-serving-ca"), and of the service-account
// keys ("sa"). There are several while one is replaced by another. None of it is secret.
func (p *PKI) Fingerprints() map[string][]string {
	prints := map[string][]string{}
	for name, bundle := range map[string][]byte{
		clusterCAFile: p.bundle, frontProxyCAFile: p.frontProxyBundle, etcdCAFile: p.etcdBundle,
		kubeletServingCAFile: p.kubeletServingBundle,
	} {
		// Open has read it.
		prints[name], _ = certificateFingerprints(bundle)
	}
	prints[serviceAccountKeys] = keyFingerprints(p.saPublic)
	return prints
}

// CheckKept compares what Open is going to find, in c.Dir or c.Import, with what
// Fingerprints returned at an earlier start. Where nothing is left of one of them it
// returns ErrLost, wrapped, before Open makes a new one. Of each CA, and of the
// service-account keys, one that was known suffices, as in a rotation; a name that is
// not in known may be new. It changes nothing, and leaves files that cannot be read to
// Open.
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
		whole := false
		switch {
		case slices.Contains(caFiles, name):
			files = name + ".crt"
			now, err = s.caFingerprints(files, imported)
		case name == serviceAccountKeys:
			files = saKeyFile + " and " + saPublicFile
			now, whole, err = s.serviceAccountFingerprints(imported)
		default:
			continue // of another version of this package
		}
		switch {
		case errors.Is(err, errUnreadable):
		case err != nil:
			return err
		case len(now) == 0:
			return fmt.Errorf("pki: %w: %s", ErrKeysMissing, s.path(files))
		case whole && slices.ContainsFunc(known[name], func(print string) bool { return !slices.Contains(now, print) }):
			return fmt.Errorf("pki: %w: %s, with earlier keys, by which tokens are verified that were signed with them", ErrKeysMissing, s.path(saPublicFile))
		case !Common(known[name], now):
			return fmt.Errorf("pki: %w: %s holds others than it did (SHA-256 %s, before %s)", ErrKeysMissing, s.path(files), now, known[name])
		}
	}
	return nil
}

// ErrUnusable is returned by Open where Dir has a CA or a key that cannot be used: it is
// damaged, expired or not valid yet, or its other half is missing. The message names the
// files to restore, or to delete for new ones.
var ErrUnusable = errors.New("a key or certificate cannot be used")

// unusable returns an error that is ErrUnusable without its text.
func unusable(format string, args ...any) error {
	return &unusableError{fmt.Errorf("pki: "+format, args...)}
}

type unusableError struct{ error }

func (e *unusableError) Unwrap() error { return e.error }

func (e *unusableError) Is(target error) bool { return target == ErrUnusable }

// errUnreadable says that there is something, about which Open has the better words.
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

// serviceAccountFingerprints reports in whole that sa.pub is missing beside sa.key: who ends a
// rotation takes keys out of it, but does not delete it.
func (s *store) serviceAccountFingerprints(imported map[string][]byte) (prints []string, whole bool, err error) {
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

// Common reports whether two lists of fingerprints have one in common.
func Common(a, b []string) bool {
	return slices.ContainsFunc(a, func(print string) bool { return slices.Contains(b, print) })
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
	return sorted(prints), nil
}

func keyFingerprints(keys []crypto.PublicKey) []string {
	var prints []string
	for _, key := range keys {
		if der, err := x509.MarshalPKIXPublicKey(key); err == nil {
			prints = append(prints, fingerprint(der))
		}
	}
	return sorted(prints)
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func sorted(prints []string) []string {
	slices.Sort(prints)
	return slices.Compact(prints)
}
