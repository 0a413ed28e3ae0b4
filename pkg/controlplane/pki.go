// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"fmt"
	"net/netip"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/pkg/pki"
)

// PKI returns the CAs and keys that all control planes of a cluster share, for Config.PKI
// of another one. Its holder can authenticate as any user: protect it like a private key,
// and store it with mode 0600.
func (s *Server) PKI() ([]byte, error) {
	bundle, err := s.pki.Export()
	if err != nil {
		return nil, fmt.Errorf("controlplane: %w", err)
	}
	return bundle, nil
}

// validatePKI does not show the keys.
func (c Config) validatePKI(at *field.Path) field.ErrorList {
	if len(c.PKI) == 0 {
		return nil
	}
	if err := (pki.Config{Import: c.PKI}).Validate(); err != nil {
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, "must be what Server.PKI has returned: "+err.Error())}
	}
	return nil
}

// memberHosts returns the hosts of a member of a cluster for its certificate.
func (e Etcd) memberHosts() (hosts []string) {
	if e.Name == "" {
		return nil
	}
	for _, address := range []string{e.PeerAddr, e.ClientAddr} {
		if parsed, err := netip.ParseAddrPort(address); err == nil {
			hosts = append(hosts, parsed.Addr().Unmap().String())
		}
	}
	return hosts
}

// pkiFields are the names of a Config for the fields of package pki.
var pkiFields = fieldpath.Names{"Dir": "Config.DataDir", "Import": "Config.PKI"}

func pkiError(err error) error {
	err = fieldpath.Rename(err, pkiFields.Rename)
	// A control plane does not replace missing keys by itself, as package pki does.
	if errors.Is(err, pki.ErrUnusable) {
		err = fieldpath.Errorf("%w; if the start after a deletion misses keys, %s confirms that new ones are wanted", err, newClusterField)
	}
	return err
}
