// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"k8s.io/apimachinery/pkg/util/validation/field"
	internalapiserver "k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
	"k8s.io/client-go/util/cert"

	"github.com/kubembed/kubembed/internal/apiserver/authn"
	"github.com/kubembed/kubembed/internal/apiserver/kubeconfig"
	"github.com/kubembed/kubembed/internal/fieldpath"
	"github.com/kubembed/kubembed/internal/nils"
)

// Authentication adds ways for clients to prove who they are. Its zero value accepts the
// client certificates of PKI, service-account tokens and bootstrap tokens. The server's
// own clients (ClientConfig) and certificates of PKI for group system:masters are always
// accepted, whatever is added here.
type Authentication struct {
	// Configuration has JWT issuers, like OIDC providers, with claim rules in CEL, and
	// the paths that clients without credentials may request. The server does not wait
	// for issuers: until an issuer answers, its tokens are refused.
	// Server.SetAuthentication replaces the issuers. It cannot be set together with
	// ConfigurationFile. If nil, no JWTs are accepted.
	Configuration *apiserverv1.AuthenticationConfiguration
	// ConfigurationFile is the path of a file with an AuthenticationConfiguration, as for
	// kube-apiserver's --authentication-config. The server follows its changes. A file
	// that is not valid, or with a new issuer that does not answer within a minute,
	// changes nothing: the log says so, and the metric
	// apiserver_authentication_config_controller_automatic_reloads_total counts it. Other
	// users must not be able to write to it.
	ConfigurationFile string
	// Anonymous has the paths that clients without credentials may request
	// (--anonymous-auth). It cannot be set if Configuration or its file has them. If
	// neither has, /healthz, /livez, /readyz and /version. It cannot change while the
	// server runs. With an authorizer of type AlwaysAllow only these four paths are
	// accepted: such clients would be administrators.
	Anonymous *apiserverv1.AnonymousAuthConfig
	// SigningAlgorithms are the accepted algorithms of JWTs, like "RS256"
	// (--oidc-signing-algs). If empty, all asymmetric ones: RS, ES and PS with 256, 384
	// and 512 bits.
	SigningAlgorithms []string

	// Webhook reviews bearer tokens that no built-in authenticator accepts.
	Webhook TokenWebhook
	// Tokens are static bearer tokens and their users.
	Tokens []StaticToken
	// TokenFile is the path of a CSV file with static bearer tokens
	// (--token-auth-file): token, user, UID and, optionally, groups in one column. It is
	// read once. Other users must not be able to read it.
	TokenFile string

	// ClientCAs are further CAs of client certificates, in PEM. The common name of a
	// certificate is the user, its organizations are the groups. Certificates with names
	// that begin with "system:", or with names of the control plane's own users, are
	// refused: such a CA cannot make nodes or administrators. pki.Config.ClientCAs has
	// CAs without this limit (--client-ca-file). Aggregated API servers get these CAs too
	// (ConfigMap extension-apiserver-authentication) and do not have this limit: they
	// accept any user of such a CA that connects to them directly.
	ClientCAs []byte
	// RequestHeader trusts the identity headers of a proxy of the host, in addition to
	// the aggregator's.
	RequestHeader RequestHeader
	// Audiences are the audiences that tokens must have one of (--api-audiences). If
	// empty, the issuers of ServiceAccounts.
	Audiences []string

	// Before and After are authenticators of the host's own. Those in Before are asked
	// before the built-in ones, those in After when no other one has accepted the
	// credentials of a request, but before clients count as anonymous. The first that
	// accepts decides. Users get the group system:authenticated. An error is no decision:
	// the next one is asked, and without a user the request fails with 401. If one panics
	// or does not return in time, the request fails: see the package documentation. The
	// context of its request ends at that time. They are called concurrently, each with
	// its own copy of the request, and must not read its body. If one accepts, the server
	// goes on without the headers that it has removed from the copy.
	//
	// They are also asked about the tokens of TokenReviews. Such a request has only the
	// header Authorization and an empty URL. In its context are the audiences that the
	// client asks for (authenticator.AudiencesFrom). A Response without Audiences has
	// the field Audiences.
	//
	// They are not asked about clients with a token of this process (ClientConfig) or a
	// certificate of PKI for group system:masters.
	Before, After []authenticator.Request
}

// TokenWebhook is a webhook that reviews bearer tokens (authentication.k8s.io
// TokenReview). If zero, there is none.
type TokenWebhook struct {
	// KubeconfigFile is the path of a kubeconfig for the webhook
	// (--authentication-token-webhook-config-file). If it has a token, a password or a
	// key, other users must not be able to read it.
	KubeconfigFile string
	// Version is the version of TokenReview: "v1" or "v1beta1"
	// (--authentication-token-webhook-version). If empty, "v1".
	Version string
	// CacheTTL is how long results are kept (--authentication-token-webhook-cache-ttl).
	// If zero, two minutes.
	CacheTTL time.Duration
}

// StaticToken is a bearer token and its user.
type StaticToken struct {
	Token string
	User  user.DefaultInfo
}

// RequestHeader configures authentication by the headers of a proxy with a client
// certificate. The proxy may name any user and group. Aggregated API servers trust it,
// too. If zero, only the aggregator's own certificate is accepted.
type RequestHeader struct {
	// CAs are the CAs of the proxy's client certificate, in PEM
	// (--requestheader-client-ca-file).
	CAs []byte
	// AllowedNames are the common names that the certificate may have
	// (--requestheader-allowed-names). If empty, every certificate of CAs is accepted.
	// They must be set if a certificate of a client may also be one of CAs: if ClientCAs
	// or the CAs of PKI have one of CAs, or a CA that is not self-signed.
	AllowedNames []string
	// UsernameHeaders, UIDHeaders, GroupHeaders and ExtraHeaderPrefixes are the names of
	// headers. If empty, X-Remote-User, X-Remote-Uid, X-Remote-Group and X-Remote-Extra-.
	UsernameHeaders, UIDHeaders, GroupHeaders, ExtraHeaderPrefixes []string
}

// Clone returns a deep copy, except of the authenticators.
func (a Authentication) Clone() Authentication {
	a.Configuration = a.Configuration.DeepCopy()
	a.Anonymous = a.Anonymous.DeepCopy()
	a.SigningAlgorithms = slices.Clone(a.SigningAlgorithms)
	a.Tokens = slices.Clone(a.Tokens)
	for i := range a.Tokens {
		a.Tokens[i].User = cloneUser(a.Tokens[i].User)
	}
	a.ClientCAs = slices.Clone(a.ClientCAs)
	a.RequestHeader = a.RequestHeader.clone()
	a.Audiences = slices.Clone(a.Audiences)
	a.Before, a.After = slices.Clone(a.Before), slices.Clone(a.After)
	return a
}

func (r RequestHeader) clone() RequestHeader {
	r.CAs = slices.Clone(r.CAs)
	for _, list := range []*[]string{&r.AllowedNames, &r.UsernameHeaders, &r.UIDHeaders, &r.GroupHeaders, &r.ExtraHeaderPrefixes} {
		*list = slices.Clone(*list)
	}
	return r
}

func cloneUser(u user.DefaultInfo) user.DefaultInfo {
	u.Groups, u.Extra = slices.Clone(u.Groups), maps.Clone(u.Extra)
	for key, values := range u.Extra {
		u.Extra[key] = slices.Clone(values)
	}
	return u
}

// validate returns the errors in all fields. It reads the files. issuers issue
// service-account tokens.
func (a Authentication) validate(at *field.Path, issuers []string) (errs field.ErrorList) {
	if len(issuers) == 0 {
		issuers = []string{defaultServiceAccountIssuer}
	}
	errs = append(errs, a.validateConfiguration(at, issuers)...)
	for i, algorithm := range a.SigningAlgorithms {
		if known := oidc.AllValidSigningAlgorithms(); !slices.Contains(known, algorithm) {
			errs = append(errs, field.NotSupported(at.Child("SigningAlgorithms").Index(i), algorithm, known))
		}
	}
	errs = append(errs, a.Webhook.validate(at.Child("Webhook"))...)
	errs = append(errs, a.validateTokens(at)...)
	errs = append(errs, validateCAs(at.Child("ClientCAs"), a.ClientCAs)...)
	errs = append(errs, a.RequestHeader.validate(at.Child("RequestHeader"))...)
	if len(errs) == 0 && len(a.RequestHeader.AllowedNames) == 0 && mayCertify(a.RequestHeader.CAs, a.ClientCAs) {
		errs = append(errs, fieldpath.Detail(field.Required(at.Child("RequestHeader", "AllowedNames"), ""), "%s has one of these CAs, or a CA that is not self-signed and that one of them may have signed: without names, each of its clients could name any user", fieldpath.NameOf(at.Child("ClientCAs"))))
	}
	for i, audience := range a.Audiences {
		if audience == "" {
			errs = append(errs, field.Required(at.Child("Audiences").Index(i), "an audience"))
		}
	}
	for name, hosts := range map[string][]authenticator.Request{"Before": a.Before, "After": a.After} {
		for i, host := range hosts {
			if nils.Is(host) {
				errs = append(errs, field.Required(at.Child(name).Index(i), "an authenticator"))
			}
		}
	}
	return errs
}

func (a Authentication) validateConfiguration(at *field.Path, issuers []string) (errs field.ErrorList) {
	if a.Anonymous != nil && !a.Anonymous.Enabled && len(a.Anonymous.Conditions) > 0 {
		errs = append(errs, field.Invalid(at.Child("Anonymous", "Conditions"), field.OmitValueType{}, "Enabled is false: set it, or take out the conditions"))
	}
	file := at.Child("ConfigurationFile")
	if a.Configuration != nil {
		if a.ConfigurationFile != "" {
			errs = append(errs, fieldpath.Detail(field.Forbidden(file, ""), "%s is set too: take out one of them", fieldpath.NameOf(at.Child("Configuration"))))
		}
		c, err := authn.FromGo(a.Configuration)
		if err != nil {
			return append(errs, field.Invalid(at.Child("Configuration"), field.OmitValueType{}, err.Error()))
		}
		errs = append(errs, a.oneAnonymous(at, at.Child("Configuration"), c)...)
		return append(errs, authn.Validate(at.Child("Configuration"), c, issuers)...)
	}
	if a.ConfigurationFile == "" {
		return errs
	}
	c, _, err := authn.ReadFile(a.ConfigurationFile)
	if err != nil {
		return append(errs, field.Invalid(file, a.ConfigurationFile, err.Error()))
	}
	errs = append(errs, a.oneAnonymous(at, file, c)...)
	for _, err := range authn.Validate(file, c, issuers) {
		err.Field = strings.TrimPrefix(err.Field, file.String()+".")
		errs = append(errs, field.Invalid(file, a.ConfigurationFile, err.Error()))
	}
	return errs
}

// oneAnonymous refuses two values for clients without credentials, as kube-apiserver.
func (a Authentication) oneAnonymous(at, configuration *field.Path, c *internalapiserver.AuthenticationConfiguration) field.ErrorList {
	if a.Anonymous == nil || c.Anonymous == nil {
		return nil
	}
	return field.ErrorList{fieldpath.Detail(field.Forbidden(at.Child("Anonymous"), ""), "%s has anonymous too: take out one of them", fieldpath.NameOf(configuration))}
}

// anonymous returns the configuration of clients without credentials, and its field. It
// is nil if there is none, or none that is valid.
func (a Authentication) anonymous(at *field.Path) (_ *internalapiserver.AnonymousAuthConfig, in *field.Path) {
	c, err := authn.FromGo(a.Configuration)
	switch {
	case a.Anonymous != nil:
		in = at.Child("Anonymous")
		c, err = authn.FromGo(&apiserverv1.AuthenticationConfiguration{Anonymous: a.Anonymous})
	case a.Configuration != nil:
		in = at.Child("Configuration")
	case a.ConfigurationFile != "":
		in = at.Child("ConfigurationFile")
		c, _, err = authn.ReadFile(a.ConfigurationFile)
	}
	if err != nil {
		return nil, in
	}
	return c.Anonymous, in
}

func (w TokenWebhook) validate(at *field.Path) (errs field.ErrorList) {
	if w.KubeconfigFile == "" {
		if w != (TokenWebhook{}) {
			errs = append(errs, field.Required(at.Child("KubeconfigFile"), "the other fields have no effect without it"))
		}
		return errs
	}
	if _, err := kubeconfig.Read(w.KubeconfigFile); err != nil {
		errs = append(errs, field.Invalid(at.Child("KubeconfigFile"), w.KubeconfigFile, err.Error()))
	}
	if versions := []string{"", "v1", "v1beta1"}; !slices.Contains(versions, w.Version) {
		errs = append(errs, field.NotSupported(at.Child("Version"), w.Version, versions[1:]))
	}
	if w.CacheTTL < 0 {
		errs = append(errs, field.Invalid(at.Child("CacheTTL"), w.CacheTTL.String(), "must not be negative; zero is two minutes"))
	}
	return errs
}

// validateTokens shows no token in an error.
func (a Authentication) validateTokens(at *field.Path) (errs field.ErrorList) {
	seen := map[string]bool{}
	for i, token := range a.Tokens {
		at := at.Child("Tokens").Index(i)
		switch {
		case token.Token == "":
			errs = append(errs, field.Required(at.Child("Token"), "the token"))
		case strings.ContainsAny(token.Token, " \t\r\n"):
			errs = append(errs, field.Invalid(at.Child("Token"), field.OmitValueType{}, "has white space, which no client can send"))
		case seen[token.Token]:
			errs = append(errs, field.Invalid(at.Child("Token"), field.OmitValueType{}, "another element has the same token"))
		}
		seen[token.Token] = true
		if token.User.Name == "" {
			errs = append(errs, field.Required(at.Child("User", "Name"), "the name of the user"))
		}
	}
	if a.TokenFile != "" {
		if err := authn.CheckTokenFile(a.TokenFile); err != nil {
			errs = append(errs, field.Invalid(at.Child("TokenFile"), a.TokenFile, err.Error()))
		}
	}
	return errs
}

func (r RequestHeader) validate(at *field.Path) (errs field.ErrorList) {
	if len(r.CAs) == 0 {
		if len(r.AllowedNames)+len(r.UsernameHeaders)+len(r.UIDHeaders)+len(r.GroupHeaders)+len(r.ExtraHeaderPrefixes) > 0 {
			errs = append(errs, field.Required(at.Child("CAs"), "the other fields have no effect without it"))
		}
		return errs
	}
	errs = append(errs, validateCAs(at.Child("CAs"), r.CAs)...)
	for i, name := range r.AllowedNames {
		if name == "" {
			errs = append(errs, field.Required(at.Child("AllowedNames").Index(i), "a common name"))
		}
	}
	for _, headers := range []struct {
		field string
		names []string
	}{{"UsernameHeaders", r.UsernameHeaders}, {"UIDHeaders", r.UIDHeaders}, {"GroupHeaders", r.GroupHeaders}, {"ExtraHeaderPrefixes", r.ExtraHeaderPrefixes}} {
		for i, name := range headers.names {
			if !httpguts.ValidHeaderFieldName(name) {
				errs = append(errs, field.Invalid(at.Child(headers.field).Index(i), name, "must be the name of a header"))
			}
		}
	}
	return errs
}

// withDefaults returns a copy with kube-apiserver's names of headers.
func (r RequestHeader) withDefaults() RequestHeader {
	for _, headers := range []struct {
		names *[]string
		name  string
	}{{&r.UsernameHeaders, "X-Remote-User"}, {&r.UIDHeaders, "X-Remote-Uid"}, {&r.GroupHeaders, "X-Remote-Group"}, {&r.ExtraHeaderPrefixes, "X-Remote-Extra-"}} {
		if len(*headers.names) == 0 {
			*headers.names = []string{headers.name}
		}
	}
	return r
}

// validateCAs accepts an empty bundle.
func validateCAs(at *field.Path, bundle []byte) field.ErrorList {
	if len(bundle) == 0 {
		return nil
	}
	cas, err := cert.ParseCertsPEM(bundle)
	if err != nil {
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, err.Error())}
	}
	now := time.Now()
	for i, ca := range cas {
		name := fmt.Sprintf("certificate %d (%s)", i, ca.Subject)
		switch {
		case !ca.IsCA:
			return field.ErrorList{field.Invalid(at, field.OmitValueType{}, name+" is not a CA")}
		case now.After(ca.NotAfter):
			return field.ErrorList{field.Invalid(at, field.OmitValueType{}, fmt.Sprintf("%s expired at %s: take it out", name, ca.NotAfter.UTC().Format(time.RFC3339)))}
		}
	}
	return nil
}

// sharedCA reports whether two bundles have a CA with the same key.
func sharedCA(a, b []byte) bool {
	first, _ := cert.ParseCertsPEM(a)
	second, _ := cert.ParseCertsPEM(b)
	return slices.ContainsFunc(first, func(ca *x509.Certificate) bool {
		return slices.ContainsFunc(second, func(other *x509.Certificate) bool {
			return bytes.Equal(ca.RawSubjectPublicKeyInfo, other.RawSubjectPublicKeyInfo)
		})
	})
}

// mayCertify reports whether certificates of a CA in clients may also be certificates of
// cas: it has the key of one of them, or is not self-signed. The CAs between it and one
// of cas are then unknown, since clients may send them.
func mayCertify(cas, clients []byte) bool {
	all, _ := cert.ParseCertsPEM(clients)
	return len(cas) > 0 && (sharedCA(cas, clients) || slices.ContainsFunc(all, func(ca *x509.Certificate) bool {
		return !bytes.Equal(ca.RawIssuer, ca.RawSubject) || ca.CheckSignatureFrom(ca) != nil
	}))
}

// addFlags adds kube-apiserver's flags for a, unless flagz has them.
func (a Authentication) addFlags(flags map[string]string) {
	flags["authentication-config"] = a.ConfigurationFile
	flags["token-auth-file"] = a.TokenFile
}
