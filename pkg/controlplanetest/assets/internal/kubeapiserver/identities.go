// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package kubeapiserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/kubembed/kubembed/pkg/pki"
)

// identities loads the certificates and keys from the files of the flags, and creates the
// missing ones in dir, which must be empty.
func (f *flags) identities(dir string) (*pki.PKI, error) {
	c := pki.Config{Dir: dir}
	if ip := f.SecureServing.BindAddress; ip != nil && !ip.IsUnspecified() {
		c.Hosts = append(c.Hosts, ip.String())
	}
	if ip := f.GenericServerRunOptions.AdvertiseAddress; len(ip) > 0 && !ip.IsUnspecified() {
		c.Hosts = append(c.Hosts, ip.String())
	}
	var err error
	if c.Serving, err = f.serving(); err != nil {
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

// serving returns the serving certificate of the flags, or the one in --cert-dir if it
// exists.
func (f *flags) serving() (pair pki.KeyPair, err error) {
	cert := f.SecureServing.ServerCert
	certFile, keyFile := cert.CertKey.CertFile, cert.CertKey.KeyFile
	switch {
	case (certFile == "") != (keyFile == ""):
		return pair, errors.New("--tls-cert-file and --tls-private-key-file must be set together")
	case certFile == "" && f.given("cert-dir"):
		certFile = filepath.Join(cert.CertDirectory, cert.PairName+".crt")
		keyFile = filepath.Join(cert.CertDirectory, cert.PairName+".key")
		if !exists(certFile) && !exists(keyFile) {
			return pair, nil
		}
	}
	if pair.Cert, err = read("tls-cert-file", certFile); err != nil {
		return pair, err
	}
	pair.Key, err = read("tls-private-key-file", keyFile)
	return pair, err
}

// serviceAccountKeys writes the keys to the files that package pki reads.
func (f *flags) serviceAccountKeys(dir string) error {
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

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
