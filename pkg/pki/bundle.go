// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/client-go/util/keyutil"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Base names of the CA files.
const (
	clusterCAFile    = "ca"
	frontProxyCAFile = "front-proxy-ca"
	etcdCAFile       = "etcd/ca"
	// kubeletServingCAFile is missing in bundles of older releases.
	kubeletServingCAFile = "kubelet-serving-ca"
)

// caFiles are also the keys of Fingerprints.
var caFiles = []string{clusterCAFile, frontProxyCAFile, etcdCAFile, kubeletServingCAFile}

// sharedFiles are the files that all servers of one cluster share, in the order of a
// bundle. The last has a single key, which a truncated bundle lacks.
var sharedFiles = []string{
	clusterCAFile + ".crt", frontProxyCAFile + ".crt", kubeletServingCAFile + ".crt", etcdCAFile + ".crt",
	saPublicFile, saKeyFile,
	clusterCAFile + ".key", frontProxyCAFile + ".key", kubeletServingCAFile + ".key", etcdCAFile + ".key",
}

// bundleHeader is the PEM header with the name of a block's file in Dir.
const bundleHeader = "Kubembed-File"

// Export returns the bundle that all servers of one cluster share, for Config.Import of
// another server: the CAs, including the CA of etcd members, the certificates that are
// trusted with them, and the service-account keys. Its holder can act as any user of the
// cluster: keep it as secret as the keys.
//
// The bundle is a series of PEM blocks. The header Kubembed-File of each block names its
// file in Dir.
func (p *PKI) Export() ([]byte, error) {
	public, err := encodePublicKeys(p.saPublic)
	if err != nil {
		return nil, fmt.Errorf("pki: exporting: %w", err)
	}
	files := map[string][]byte{
		clusterCAFile + ".crt":        p.bundle,
		frontProxyCAFile + ".crt":     p.frontProxyBundle,
		kubeletServingCAFile + ".crt": p.kubeletServingBundle,
		etcdCAFile + ".crt":           p.etcdBundle,
		saPublicFile:                  public,
	}
	for name, key := range map[string]crypto.Signer{
		saKeyFile:                     p.saKey,
		clusterCAFile + ".key":        p.cluster.Key,
		frontProxyCAFile + ".key":     p.frontProxy.Key,
		kubeletServingCAFile + ".key": p.kubeletServing.Key,
		etcdCAFile + ".key":           p.etcd.Key,
	} {
		if files[name], err = keyutil.MarshalPrivateKeyToPEM(key); err != nil {
			return nil, fmt.Errorf("pki: exporting %s: %w", name, err)
		}
	}
	var b bytes.Buffer
	for _, name := range sharedFiles {
		for block, rest := pem.Decode(files[name]); block != nil; block, rest = pem.Decode(rest) {
			block.Headers = map[string]string{bundleHeader: name}
			if err := pem.Encode(&b, block); err != nil {
				return nil, fmt.Errorf("pki: exporting %s: %w", name, err)
			}
		}
	}
	return b.Bytes(), nil
}

// parseBundle returns the files of a bundle. An incomplete bundle is an error.
func parseBundle(data []byte) (map[string][]byte, error) {
	if err := checkPEM(data); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		name := block.Headers[bundleHeader]
		if !slices.Contains(sharedFiles, name) {
			return nil, fmt.Errorf("a PEM block has no header %s that names one of the files %q: use the result of Export", bundleHeader, sharedFiles)
		}
		block.Headers = nil
		files[name] = append(files[name], pem.EncodeToMemory(block)...)
	}
	// A bundle of an older release has no such CA: see openKubeletServing.
	older := files[kubeletServingCAFile+".crt"] == nil && files[kubeletServingCAFile+".key"] == nil
	for _, name := range sharedFiles {
		if files[name] == nil && !(older && strings.HasPrefix(name, kubeletServingCAFile)) {
			return nil, fmt.Errorf("%s is missing: the bundle is truncated", name)
		}
	}
	for _, name := range caFiles {
		if older && name == kubeletServingCAFile {
			continue
		}
		certs, err := parseCerts(files[name+".crt"])
		if err != nil {
			return nil, fmt.Errorf("%s.crt: %w", name, err)
		}
		keys, err := parseKeys(files[name+".key"])
		if err != nil {
			return nil, fmt.Errorf("%s.key: %w", name, err)
		}
		if !certs[0].IsCA || !samePublicKey(keys[0].Public(), certs[0].PublicKey) {
			return nil, fmt.Errorf("%s.key is not the key of the CA in %s.crt", name, name)
		}
	}
	if _, err := parseKeys(files[saKeyFile]); err != nil {
		return nil, fmt.Errorf("%s: %w", saKeyFile, err)
	}
	if _, err := parsePublicKeys(files[saPublicFile]); err != nil {
		return nil, fmt.Errorf("%s: %w", saPublicFile, err)
	}
	return files, nil
}

// adopt plans to write the files of a bundle that the directory lacks, and compares the
// others. A crash in the first start may have left some of them. read returns planned
// files as if they existed.
func (s *store) adopt(bundle []byte) error {
	files, err := parseBundle(bundle)
	if err != nil {
		return fieldpath.New("pki", "Import", "%w", err) // Validate has already found it
	}
	imported := map[string][]byte{}
	for _, name := range caFiles {
		if files[name+".crt"] == nil {
			continue
		}
		own, err := s.read(name + ".crt")
		if err != nil {
			return err
		}
		if own == nil {
			imported[name+".crt"], imported[name+".key"] = files[name+".crt"], files[name+".key"]
			continue
		}
		certs, err := parseCerts(own)
		if err != nil {
			continue // openCA reports it
		}
		theirs, err := parseCerts(files[name+".crt"])
		if err != nil {
			return err
		}
		common := false
		for _, cert := range certs {
			common = common || slices.ContainsFunc(theirs, cert.Equal)
		}
		if !common {
			return s.mismatch(name+".crt", "CA")
		}
	}
	if err := s.adoptServiceAccountKeys(files, imported); err != nil {
		return err
	}
	s.imported = imported
	// A key before its certificate: see openCA.
	for _, name := range slices.Backward(sharedFiles) {
		if data, ok := imported[name]; ok {
			s.put(name, data)
		}
	}
	return nil
}

// adoptServiceAccountKeys does not restore a key that was deleted for a rotation: its
// public key is still there.
func (s *store) adoptServiceAccountKeys(files, imported map[string][]byte) error {
	private, err := s.read(saKeyFile)
	if err != nil {
		return err
	}
	public, err := s.read(saPublicFile)
	if err != nil {
		return err
	}
	if private == nil && public == nil {
		imported[saKeyFile], imported[saPublicFile] = files[saKeyFile], files[saPublicFile]
		return nil
	}
	var own []crypto.PublicKey
	if private != nil {
		keys, err := parseKeys(private)
		if err != nil {
			return nil //nolint:nilerr // openServiceAccountKeys reports it
		}
		for _, key := range keys {
			own = append(own, key.Public())
		}
	}
	if public != nil {
		keys, err := parsePublicKeys(public)
		if err != nil {
			return nil //nolint:nilerr // openServiceAccountKeys reports it
		}
		own = append(own, keys...)
	} else {
		imported[saPublicFile] = files[saPublicFile]
	}
	theirs, err := parsePublicKeys(files[saPublicFile])
	if err != nil {
		return err
	}
	for _, key := range own {
		if len(appendKey(theirs, key)) == len(theirs) {
			return nil
		}
	}
	return s.mismatch(saPublicFile, "service-account keys")
}

// ErrOtherCA is returned by Open if Config.Import and Config.Dir have the CAs or
// service-account keys of different clusters.
var ErrOtherCA = errors.New("of another cluster")

// mismatch is the error for a file of another cluster than the bundle.
func (s *store) mismatch(name, what string) error {
	return fieldpath.New("pki", "", "%s has its own %s, in %s, and %s is %w: leave %s empty to keep the cluster of the directory, "+
		"use the bundle of a server of the same cluster, or choose an empty directory to join the other cluster (kubeconfigs and tokens of this directory are not valid there)",
		fieldpath.Name("Dir"), what, s.path(name), fieldpath.Name("Import"), ErrOtherCA, fieldpath.Name("Import"))
}
