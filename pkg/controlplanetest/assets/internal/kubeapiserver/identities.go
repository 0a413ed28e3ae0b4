// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/kubembed/kubembed/pkg/pki"
)

// identities loads the certificates and keys from the files of the flags, and creates the
// missing ones in dir, which must not exist.
func (f *completed) identities(dir string) (*pki.PKI, error) {
	err := os.Mkdir(dir, 0o700)
	if err != nil {
		return nil, err
	}
	c := pki.Config{Dir: dir}
	cert := f.SecureServing.ServerCert.CertKey
	if c.Serving.Cert, err = read("tls-cert-file", cert.CertFile); err != nil {
		return nil, err
	}
	if c.Serving.Key, err = read("tls-private-key-file", cert.KeyFile); err != nil {
		return nil, err
	}
	if c.ClientCAs, err = read("client-ca-file", f.Authentication.ClientCert.ClientCA); err != nil {
		return nil, err
	}
	if err := f.serviceAccountKeys(dir); err != nil {
		return nil, err
	}
	return pki.Open(c)
}

// serviceAccountKeys writes the keys to the files that package pki reads.
func (f *completed) serviceAccountKeys(dir string) error {
	signing, err := read("service-account-signing-key-file", f.ServiceAccountSigningKeyFile)
	if err != nil {
		return err
	}
	var public []byte
	for _, file := range f.Authentication.ServiceAccounts.KeyFiles {
		key, err := read("service-account-key-file", file)
		if err != nil {
			return err
		}
		public = slices.Concat(public, key, []byte("\n"))
	}
	for name, data := range map[string][]byte{"sa.key": signing, "sa.pub": public} {
		if len(data) == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// read returns the contents of the file of a flag, or nil if the flag is empty.
func read(flag, file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return data, nil
}
