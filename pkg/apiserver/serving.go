// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"crypto/tls"
	"maps"
	"net/http"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Serving configures HTTPS and HTTP.
type Serving struct {
	// CertFile and KeyFile are the paths of a serving certificate with its chain, and its
	// key, in PEM. The server reads them again when they change. If empty, it serves with
	// PKI's certificate.
	CertFile, KeyFile string
	// SNICertificates are certificates for further names, by SNI.
	SNICertificates []SNICertificate
	// GetCertificate returns the certificate for a connection. If it returns nil, the
	// other certificates apply. It must be fast.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// MinTLSVersion is "VersionTLS12" or "VersionTLS13". If empty, "VersionTLS12".
	MinTLSVersion string
	// CipherSuites are the names of cipher suites for TLS 1.2, as in crypto/tls. If
	// empty, Go's.
	CipherSuites []string
	// HSTSDirectives are the directives of the header Strict-Transport-Security.
	HSTSDirectives []string
	// CORSAllowedOrigins are regular expressions of the origins of web pages that may
	// call the server.
	CORSAllowedOrigins []string
	// GoawayChance is the probability that a request ends its HTTP/2 connection, so that
	// the client connects again, perhaps to another server: 0 to 0.02.
	GoawayChance float64
	// HTTP2MaxStreamsPerConnection bounds the concurrent requests of a connection. If
	// zero, 100.
	HTTP2MaxStreamsPerConnection int
	// Handlers serve further paths, by their pattern, behind the authentication and
	// authorization of the server: "/metrics/app", or "/app/" for all paths below it.
	Handlers map[string]http.Handler
}

// SNICertificate is a certificate that is chosen by the name that a client asks for.
type SNICertificate struct {
	// CertFile and KeyFile are the paths of the certificate with its chain, and its key,
	// in PEM. The server reads them again when they change.
	CertFile, KeyFile string
	// Names are the names, with "*." for all names below one. If empty, the names in the
	// certificate.
	Names []string
}

// Clone returns a deep copy, except of the handlers.
func (s Serving) Clone() Serving {
	s.SNICertificates = slices.Clone(s.SNICertificates)
	s.CipherSuites = slices.Clone(s.CipherSuites)
	s.HSTSDirectives = slices.Clone(s.HSTSDirectives)
	s.CORSAllowedOrigins = slices.Clone(s.CORSAllowedOrigins)
	s.Handlers = maps.Clone(s.Handlers)
	return s
}

func (s Serving) validate(at *field.Path) (errs field.ErrorList) {
	return errs
}
