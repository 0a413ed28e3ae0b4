// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/util/cert"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/kubembed/kubembed/internal/apiserver/serving"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/nils"
)

// Serving configures HTTPS. Its zero value shows PKI's certificate.
//
// With certificates of the host's, clients that verify with PKI's CA still need PKI's
// certificate. The server always shows it to clients that ask for a name of the
// kubernetes Service, such as kubernetes.default.svc, and to clients at an IP address
// that PKI's certificate has and CertFile's does not. The client configurations and
// kubeconfigs of this library ask for kubernetes.default.svc (tls-server-name) at any
// address. Pods, and kubelets that have joined, ask for no name: if CertFile's
// certificate has the advertised address, set RootCAs.
type Serving struct {
	// CertFile and KeyFile are the paths of a serving certificate, followed by its
	// intermediate CAs, and of its key, in PEM: kube-apiserver's --tls-cert-file and
	// --tls-private-key-file. Clients get it unless another one is for the name that they
	// ask for. The files must belong to the user of the process or to root, and only
	// these and a group may read the key. If empty, clients get PKI's certificate.
	//
	// The server reads the files again when they change. Connections stay. A changed
	// certificate that cannot be used, or has expired, changes nothing: the former one
	// stays, and the Logger and the metric kubembed_serving_certificate_reloads_total
	// report it two seconds later.
	CertFile, KeyFile string
	// SNICertificates are certificates for the names that clients ask for, like
	// --tls-sni-cert-key. The first one for a name wins. A certificate that lists the
	// name comes before one with a wildcard. If empty, there are none.
	SNICertificates []SNICertificate
	// GetCertificate returns the certificate for a connection, like tls.Config's. It
	// comes before the files, for clients that ask for a name other than the kubernetes
	// Service's. If it returns nil and no error, the other certificates apply.
	// After an error, a panic or ten seconds the connection is closed, and also at once
	// while 10,000 calls have not returned. It must be safe for concurrent use. If nil,
	// the other certificates apply.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// RootCAs are the CAs of these certificates, in PEM, for clients that come to know
	// the CAs from the control plane: the ConfigMap kube-root-ca.crt and the tokens of
	// pods, like kube-controller-manager's --root-ca-file, client configurations,
	// kubeconfigs and CABundle have them beside PKI's. If empty, they have PKI's only,
	// and the Logger warns of a certificate for the advertised address.
	RootCAs []byte
	// MinTLSVersion is kube-apiserver's --tls-min-version: "VersionTLS10" to
	// "VersionTLS13". If empty, "VersionTLS12".
	MinTLSVersion string
	// CipherSuites are the names of the cipher suites, like --tls-cipher-suites. They do
	// not apply to TLS 1.3. PKI's certificate has an ECDSA key. If empty, Go's.
	CipherSuites []string
	// CurvePreferences are the key exchange mechanisms, like --tls-curve-preferences. If
	// empty, Go's.
	CurvePreferences []tls.CurveID
	// DisableHTTP2 serves HTTP/1.1 only, like --disable-http2-serving.
	DisableHTTP2 bool
	// HTTP2MaxStreamsPerConnection bounds the concurrent requests of a connection, like
	// --http2-max-streams-per-connection. If zero, 100.
	HTTP2MaxStreamsPerConnection int
	// GoawayChance is the probability, from 0 to 0.02, that a request ends its HTTP/2
	// connection after its response, so that the client connects again, perhaps to
	// another server: --goaway-chance. If zero, connections stay.
	GoawayChance float64

	// HSTSDirectives are the directives of the header Strict-Transport-Security:
	// "max-age=SECONDS", "includeSubDomains" and "preload", like
	// --strict-transport-security-directives. If empty, there is no header.
	HSTSDirectives []string
	// CORSAllowedOrigins are regular expressions for the origins of web pages that may
	// call the server, like --cors-allowed-origins, with their users' credentials. Each
	// must be anchored to the host: "^https://console[.]example[.]com$". An expression
	// that also matches hosts of others, as one with "." in place of "[.]" does, is an
	// error. The insecure listener refuses web pages of other origins nevertheless. If
	// empty, no origin may.
	CORSAllowedOrigins []string

	// Handlers serve further paths, by pattern: "/app" is this path, and "/app/" all
	// paths below it. The longest pattern wins. Paths are compared as they are, without
	// escapes: requests whose path has "//", or a segment "." or "..", get HTTP 400.
	// Requests pass authentication, audit, priority and fairness, and authorization
	// first: with RBAC, a ClusterRole must allow the path (nonResourceURLs) and the
	// method in lower case. The handler finds the user with
	// k8s.io/apiserver/pkg/endpoints/request.UserFrom. The server lists the patterns at
	// /. A pattern that would hide a path of the API is an error.
	//
	// RequestTimeout bounds a request, or the query parameter timeout of the client if
	// that is shorter: "timeout=10s". If it is no duration, the client gets HTTP 400. If
	// the handler has not returned by then, the client gets HTTP 504, with the pattern.
	// The context of the request has ended, and a handler that ignores that keeps its
	// goroutine, also after Stop. After a panic the client gets HTTP 500. The handler
	// does not see the header Authorization, which authentication removes. Handlers bound
	// bodies themselves, and must be safe for concurrent use.
	//
	// A response that has begun is cut at RequestTimeout. A hijacked connection of
	// HTTP/1.1 is not bounded. For long streams, mount Server.Handler in a server of the
	// host's, beside its own handlers.
	Handlers map[string]http.Handler
}

// SNICertificate is a certificate for clients that ask for its names.
type SNICertificate struct {
	// CertFile and KeyFile are like Serving's.
	CertFile, KeyFile string
	// Names are DNS names, with "*." for one label, or IP addresses of the server. A name
	// of the kubernetes Service, or "*", is an error. If empty, the DNS names in the
	// certificate.
	Names []string
}

// Clone returns a deep copy, except of the handlers.
func (s Serving) Clone() Serving {
	s.SNICertificates = slices.Clone(s.SNICertificates)
	for i := range s.SNICertificates {
		s.SNICertificates[i].Names = slices.Clone(s.SNICertificates[i].Names)
	}
	s.RootCAs = slices.Clone(s.RootCAs)
	s.CipherSuites = slices.Clone(s.CipherSuites)
	s.CurvePreferences = slices.Clone(s.CurvePreferences)
	s.HSTSDirectives = slices.Clone(s.HSTSDirectives)
	s.CORSAllowedOrigins = slices.Clone(s.CORSAllowedOrigins)
	s.Handlers = maps.Clone(s.Handlers)
	return s
}

// ownCertificates reports whether clients may get others than PKI's certificate.
func (s Serving) ownCertificates() bool {
	return s.CertFile != "" || len(s.SNICertificates) > 0 || s.GetCertificate != nil
}

func (s Serving) validate(at *field.Path) (errs field.ErrorList) {
	if s.CertFile != "" || s.KeyFile != "" {
		errs = append(errs, validateFiles(at, s.CertFile, s.KeyFile)...)
	}
	everyName := fieldpath.NameOf(at.Child("CertFile"))
	for i, named := range s.SNICertificates {
		at := at.Child("SNICertificates").Index(i)
		errs = append(errs, validateFiles(at, named.CertFile, named.KeyFile)...)
		for j, name := range named.Names {
			at := at.Child("Names").Index(j)
			switch {
			case name == "*":
				errs = append(errs, fieldpath.Detail(field.Invalid(at, name, ""), `matches names of one label only, like localhost: write "*.example.com" for the names in example.com, or set %s for every name`, everyName))
			case serving.IsServiceName(name):
				errs = append(errs, field.Invalid(at, name, "has no effect: clients that ask for a name of the kubernetes Service get PKI's certificate, which they verify with PKI's CA: leave it out"))
			case net.ParseIP(name) == nil && len(validation.IsDNS1123Subdomain(strings.TrimPrefix(name, "*."))) > 0:
				errs = append(errs, field.Invalid(at, name, `must be a DNS name in lower case, which may begin with "*.", or an IP address`))
			}
		}
	}
	if len(s.RootCAs) > 0 {
		if _, err := cert.ParseCertsPEM(s.RootCAs); err != nil {
			errs = append(errs, field.Invalid(at.Child("RootCAs"), field.OmitValueType{}, "must be certificates in PEM: "+err.Error()))
		}
	}
	errs = append(errs, s.validateTLS(at)...)
	if s.HTTP2MaxStreamsPerConnection < 0 {
		errs = append(errs, field.Invalid(at.Child("HTTP2MaxStreamsPerConnection"), s.HTTP2MaxStreamsPerConnection, "must not be negative; zero is 100"))
	}
	if !(s.GoawayChance >= 0 && s.GoawayChance <= 0.02) { // also for NaN
		errs = append(errs, field.Invalid(at.Child("GoawayChance"), s.GoawayChance, "must be from 0 to 0.02: each request with that probability costs the client a connection"))
	}
	for i, directive := range s.HSTSDirectives {
		if !upstreamAccepts(func(o *genericoptions.ServerRunOptions) { o.HSTSDirectives = []string{directive} }) {
			errs = append(errs, field.Invalid(at.Child("HSTSDirectives").Index(i), directive, `must be "max-age=SECONDS", "includeSubDomains" or "preload"`))
		}
	}
	for _, pattern := range sets.List(sets.KeySet(s.Handlers)) {
		at := at.Child("Handlers").Key(pattern)
		if err := serving.CheckPattern(pattern); err != nil {
			errs = append(errs, field.Invalid(at, pattern, err.Error()))
		}
		if nils.Is(s.Handlers[pattern]) {
			errs = append(errs, field.Required(at, "the handler is nil"))
		}
	}
	return errs
}

func (c Config) validateCORS(at *field.Path) (errs field.ErrorList) {
	for i, origin := range c.Serving.CORSAllowedOrigins {
		_, err := regexp.Compile(origin)
		switch {
		case err != nil:
		case c.lenient:
			if !upstreamAccepts(func(o *genericoptions.ServerRunOptions) { o.CorsAllowedOriginList = []string{origin} }) {
				err = errors.New(`must be anchored to the host, by "^" or "//" before it and "$" or ":" after it: otherwise it matches hosts of others that contain it`)
			}
		default:
			err = serving.CheckOrigin(origin)
		}
		if err != nil {
			errs = append(errs, field.Invalid(at.Index(i), origin, err.Error()))
		}
	}
	return errs
}

func validateFiles(at *field.Path, certFile, keyFile string) (errs field.ErrorList) {
	for _, file := range []struct{ name, value, other string }{{"CertFile", certFile, "KeyFile"}, {"KeyFile", keyFile, "CertFile"}} {
		if file.value == "" {
			errs = append(errs, fieldpath.Detail(field.Required(at.Child(file.name), ""), "set it together with %s", fieldpath.NameOf(at.Child(file.other))))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	err := serving.CertificateFile{CertFile: certFile, KeyFile: keyFile}.Check()
	if ofKey := (*serving.KeyError)(nil); errors.As(err, &ofKey) {
		errs = append(errs, field.Invalid(at.Child("KeyFile"), keyFile, err.Error()))
	} else if err != nil {
		errs = append(errs, field.Invalid(at.Child("CertFile"), certFile, err.Error()))
	}
	return errs
}

func (s Serving) validateTLS(at *field.Path) (errs field.ErrorList) {
	version, err := cliflag.TLSVersion(s.MinTLSVersion)
	if err != nil {
		errs = append(errs, field.NotSupported(at.Child("MinTLSVersion"), s.MinTLSVersion, cliflag.TLSPossibleVersions()))
	}
	for i, name := range s.CipherSuites {
		if _, err := cliflag.TLSCipherSuites([]string{name}); err != nil {
			errs = append(errs, field.NotSupported(at.Child("CipherSuites").Index(i), name, cliflag.TLSCipherPossibleValues()))
		}
	}
	suites, _ := cliflag.TLSCipherSuites(s.CipherSuites)
	http2 := func(suite uint16) bool {
		return suite == tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 || suite == tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	}
	// net/http refuses to serve.
	if len(suites) > 0 && version < tls.VersionTLS13 && !s.DisableHTTP2 && !slices.ContainsFunc(suites, http2) {
		errs = append(errs, fieldpath.Detail(field.Invalid(at.Child("CipherSuites"), s.CipherSuites, ""),
			"HTTP/2 needs TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 or TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: add one, or set %s, or %s VersionTLS13",
			fieldpath.NameOf(at.Child("DisableHTTP2")), fieldpath.NameOf(at.Child("MinTLSVersion"))))
	}
	for i, curve := range s.CurvePreferences {
		if _, err := cliflag.TLSCurvePreferences([]int32{int32(curve)}); err != nil {
			errs = append(errs, field.Invalid(at.Child("CurvePreferences").Index(i), uint16(curve), err.Error()))
		}
	}
	return errs
}

// upstreamAccepts asks kube-apiserver's validation of flags.
func upstreamAccepts(set func(*genericoptions.ServerRunOptions)) bool {
	o := genericoptions.NewServerRunOptions()
	set(o)
	return len(o.Validate()) == 0
}

// applyTo sets the fields of upstream's configuration.
func (s Serving) applyTo(c *genericapiserver.Config) {
	c.HSTSDirectives = s.HSTSDirectives
	c.CorsAllowedOriginList = s.CORSAllowedOrigins
	c.GoawayChance = s.GoawayChance
}

// flags are the values of kube-apiserver's flags.
func (s Serving) flags() map[string]string {
	var curves []string
	for _, curve := range s.CurvePreferences {
		curves = append(curves, strconv.Itoa(int(curve)))
	}
	var named []cliflag.NamedCertKey
	for _, c := range s.SNICertificates {
		named = append(named, cliflag.NamedCertKey{Names: c.Names, CertFile: c.CertFile, KeyFile: c.KeyFile})
	}
	return map[string]string{
		"cors-allowed-origins":                 list(s.CORSAllowedOrigins),
		"disable-http2-serving":                strconv.FormatBool(s.DisableHTTP2),
		"goaway-chance":                        strconv.FormatFloat(s.GoawayChance, 'g', -1, 64),
		"http2-max-streams-per-connection":     strconv.Itoa(s.HTTP2MaxStreamsPerConnection),
		"strict-transport-security-directives": list(s.HSTSDirectives),
		"tls-cert-file":                        s.CertFile,
		"tls-cipher-suites":                    list(s.CipherSuites),
		"tls-curve-preferences":                list(curves),
		"tls-min-version":                      s.MinTLSVersion,
		"tls-private-key-file":                 s.KeyFile,
		"tls-sni-cert-key":                     cliflag.NewNamedCertKeyArray(&named).String(),
	}
}

// caBundle returns the CAs that clients verify the server with.
func (c Config) caBundle() []byte {
	bundle := slices.Clone(c.PKI.CABundle())
	if len(c.Serving.RootCAs) > 0 && !bytes.HasSuffix(bundle, []byte("\n")) {
		bundle = append(bundle, '\n')
	}
	return append(bundle, c.Serving.RootCAs...)
}

// certificates reads the files. The caller closes the result.
func (c Config) certificates() (*serving.Certificates, error) {
	s := c.Serving
	o := serving.CertificateOptions{
		Own:              func() (cert, key []byte) { pair := c.PKI.Serving(); return pair.Cert, pair.Key },
		Get:              s.GetCertificate,
		GetField:         "Config.Serving.GetCertificate",
		CurvePreferences: s.CurvePreferences,
		Logger:           c.Logger,
	}
	if s.CertFile != "" {
		o.Default = &serving.CertificateFile{Field: "Config.Serving.CertFile", KeyField: "Config.Serving.KeyFile", CertFile: s.CertFile, KeyFile: s.KeyFile}
	}
	for i, named := range s.SNICertificates {
		at := field.NewPath("Config", "Serving", "SNICertificates").Index(i)
		o.SNI = append(o.SNI, serving.CertificateFile{
			Field: at.Child("CertFile").String(), KeyField: at.Child("KeyFile").String(),
			CertFile: named.CertFile, KeyFile: named.KeyFile, Names: named.Names,
		})
	}
	var err error
	if o.MinVersion, err = cliflag.TLSVersion(s.MinTLSVersion); err != nil { // validated
		return nil, fmt.Errorf("apiserver: %w", err)
	}
	if len(s.CipherSuites) > 0 {
		if o.CipherSuites, err = cliflag.TLSCipherSuites(s.CipherSuites); err != nil {
			return nil, fmt.Errorf("apiserver: %w", err)
		}
	}
	return serving.NewCertificates(o)
}

// hostHandlers are Handlers, for the chain.
func (c Config) hostHandlers() *serving.HostHandlers {
	return &serving.HostHandlers{Field: "Config.Serving.Handlers", Handlers: c.Serving.Handlers, Logger: c.Logger}
}
