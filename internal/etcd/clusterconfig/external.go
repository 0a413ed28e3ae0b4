// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package clusterconfig

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"os"
	"slices"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// External is etcd.ExternalConfig, which documents the fields.
type External struct {
	Endpoints     []string
	CA, Cert, Key string
	Logger        *zap.Logger
}

// Validate reports every problem of r below a path. It reads the files.
func (r External) Validate(at *field.Path) (errs field.ErrorList) {
	if len(r.Endpoints) == 0 {
		errs = append(errs, field.Required(at.Child("Endpoints"), "the client URLs of etcd"))
	}
	var schemes []string
	for i, endpoint := range r.Endpoints {
		at := at.Child("Endpoints").Index(i)
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" ||
			strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" {
			errs = append(errs, field.Invalid(at, endpoint, `must be a URL with a port, like "https://10.0.0.1:2379"`))
			continue
		}
		if slices.Contains(r.Endpoints[:i], endpoint) {
			errs = append(errs, field.Duplicate(at, endpoint))
		}
		if schemes = append(schemes, u.Scheme); u.Scheme != schemes[0] {
			errs = append(errs, field.Invalid(at, endpoint, "must be "+schemes[0]+" like the first: they are members of one etcd"))
		}
	}
	return append(errs, r.validateFiles(at, len(schemes) > 0 && schemes[0] == "http")...)
}

func (r External) validateFiles(at *field.Path, plain bool) (errs field.ErrorList) {
	for _, f := range []struct{ name, file string }{{"CA", r.CA}, {"Cert", r.Cert}, {"Key", r.Key}} {
		if plain && f.file != "" {
			errs = append(errs, fieldpath.Detail(field.Forbidden(at.Child(f.name), ""), "only for https, and %s are http", fieldpath.NameOf(at.Child("Endpoints"))))
		}
	}
	switch {
	case len(errs) > 0:
		return errs
	case r.Cert != "" && r.Key == "":
		errs = append(errs, fieldpath.Detail(field.Required(at.Child("Key"), ""), "the key of %s", fieldpath.NameOf(at.Child("Cert"))))
	case r.Key != "" && r.Cert == "":
		errs = append(errs, fieldpath.Detail(field.Required(at.Child("Cert"), ""), "the certificate of %s", fieldpath.NameOf(at.Child("Key"))))
	case r.Cert != "":
		if _, err := tls.LoadX509KeyPair(r.Cert, r.Key); err != nil {
			errs = append(errs, fieldpath.Detail(field.Invalid(at.Child("Cert"), r.Cert, ""), "must be PEM certificates that %s, %s, is of: %v", fieldpath.NameOf(at.Child("Key")), r.Key, err))
		}
	}
	if r.CA != "" {
		data, err := os.ReadFile(r.CA)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(data) {
			err = errors.New("it has no certificate")
		}
		if err != nil {
			errs = append(errs, field.Invalid(at.Child("CA"), r.CA, "must be PEM certificates: "+err.Error()))
		}
	}
	return errs
}

// Encrypted reports whether the endpoints are https.
func (r External) Encrypted() bool { return strings.HasPrefix(r.Endpoints[0], "https:") }

// TLSInfo returns the TLS settings of the client.
func (r External) TLSInfo() transport.TLSInfo {
	return transport.TLSInfo{TrustedCAFile: r.CA, CertFile: r.Cert, KeyFile: r.Key, Logger: zap.NewNop()}
}
