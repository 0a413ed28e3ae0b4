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

// The base names of the CA files.
const (
	clusterCAFile    = "ca"
	frontProxyCAFile = "front-proxy-ca"
	etcdCAFile       = "etcd/ca"
	// kubeletServingCAFile is younger than the others: bundles may lack it.
	kubeletServingCAFile = "kubelet-serving-ca"
)

// caFiles are the keys of Fingerprints, too.
var caFiles = []string{clusterCAFile, frontProxyCAFile, etcdCAFile, kubeletServingCAFile}

// sharedFiles are the files that all servers of one cluster have in common, in the
// order of a bundle. The last holds one key: a bundle that is cut short lacks it.
var sharedFiles = []string{
	clusterCAFile + ".crt", frontProxyCAFile + ".crt", kubeletServingCAFile + ".crt", etcdCAFile + ".crt",
	saPublicFile, saKeyFile,
	clusterCAFile + ".key", frontProxyCAFile + ".key", kubeletServingCAFile + ".key", etcdCAFile + ".key",
}

// bundleHeader names the file in Dir that a block of a bundle belongs to.
const bundleHeader = "Kubembed-File"

// Export returns what all servers of one cluster have in common, for Config.Import
// of another: the CAs, those of etcd's members among them, with the
// certificates that are trusted besides them, and the service-account keys. With it
// anybody can be anyone in the cluster: keep it as secret as the keys.
//
// It is a series of PEM blocks, each with the header Kubembed-File, which names the
// file in Dir that it stands in.
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
		saPublicFile:                     public,
	}
	for name, key := range map[string]crypto.Signer{
		saKeyFile:                        p.saKey,
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

// parseBundle returns the files of a bundle, all of which are there and whole.
func parseBundle(data []byte) (map[string][]byte, error) {
	if err := wholePEM(data); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		name := block.Headers[bundleHeader]
		if !slices.Contains(sharedFiles, name) {
			return nil, fmt.Errorf("a PEM block in it has no header %s that names one of the files %q: it must be what Export returned", bundleHeader, sharedFiles)
		}
		block.Headers = nil
		files[name] = append(files[name], pem.EncodeToMemory(block)...)
	}
	// A bundle of an older release has neither: see openKubeletServing.
	older := files[kubeletServingCAFile+".crt"] == nil && files[kubeletServingCAFile+".key"] == nil
	for _, name := range sharedFiles {
		if files[name] == nil && !(older && strings.HasPrefix(name, kubeletServingCAFile)) {
			return nil, fmt.Errorf("it holds no %s: it was cut short", name)
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
			return nil, fmt.Errorf("%s.key in it is not the key of the authority in %s.crt", name, name)
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

// adopt plans the files of a bundle where the directory has none, and compares the
// others, of which a crash in the first start may have left some. What it plans is
// read as if it were there.
func (s *store) adopt(bundle []byte) error {
	files, err := parseBundle(bundle)
	if err != nil {
		return fieldpath.New("pki", "Import", "%w", err) // Validate has found it
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
			continue // openCA says what to do
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
			return s.contradiction(name+".crt", "authority")
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

// adoptServiceAccountKeys brings no key back that was deleted for a rotation, which
// leaves its public half.
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
			return nil //nolint:nilerr // openServiceAccountKeys says what to do
		}
		for _, key := range keys {
			own = append(own, key.Public())
		}
	}
	if public != nil {
		keys, err := parsePublicKeys(public)
		if err != nil {
			return nil //nolint:nilerr // openServiceAccountKeys says what to do
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
	return s.contradiction(saPublicFile, "service-account keys")
}

// ErrOtherCA says that Config.Import and Config.Dir hold the CAs of
// different clusters.
var ErrOtherCA = errors.New("of another cluster")

func (s *store) contradiction(name, what string) error {
	return fieldpath.New("pki", "", "%s has its own %s, in %s, and %s is %w: leave %s empty to go on with the directory's, "+
		"take it from a server of the same cluster, or choose an empty directory to join that cluster (the directory's own kubeconfigs and tokens are not valid there)",
		fieldpath.Name("Dir"), what, s.path(name), fieldpath.Name("Import"), ErrOtherCA, fieldpath.Name("Import"))
}
