// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Authentication adds ways for clients to prove who they are. Its zero value accepts the
// client certificates of PKI, service-account tokens and bootstrap tokens.
type Authentication struct {
	// Configuration has JWT issuers, like those of OIDC providers, with claim rules in
	// CEL, and the paths that clients without credentials may request. It cannot be set
	// together with ConfigurationFile. If nil, no JWTs are accepted, and clients without
	// credentials may request /healthz, /livez, /readyz and /version.
	Configuration *apiserverv1.AuthenticationConfiguration
	// ConfigurationFile is the path of a file with an AuthenticationConfiguration. The
	// server reads it again when it changes. See kube-apiserver's
	// --authentication-config.
	ConfigurationFile string
	// Webhook reviews bearer tokens that no other authenticator accepts.
	Webhook TokenWebhook
	// Tokens are static bearer tokens and their users.
	Tokens []StaticToken
	// TokenFile is the path of a CSV file with static bearer tokens, as for
	// kube-apiserver's --token-auth-file. It is read once.
	TokenFile string
	// ClientCAs are further CAs of client certificates, in PEM. The common name of a
	// certificate is the user, its organizations are the groups.
	ClientCAs []byte
	// RequestHeader trusts the identity headers of a proxy of the host.
	RequestHeader RequestHeader
	// Audiences are the audiences that tokens must have one of. If empty, the issuers of
	// ServiceAccounts.
	Audiences []string
	// Before and After are authenticators of the host's own. Those in Before are asked
	// before the built-in ones, those in After when no other one has accepted the
	// credentials of a request. A panic in one fails the request with 500.
	Before, After []authenticator.Request
}

// TokenWebhook is a webhook that reviews bearer tokens (authentication.k8s.io
// TokenReview). If zero, there is none.
type TokenWebhook struct {
	// KubeconfigFile is the path of a kubeconfig for the webhook.
	KubeconfigFile string
	// Version is the version of TokenReview: "v1" or "v1beta1". If empty, "v1".
	Version string
	// CacheTTL is how long results are kept. If zero, two minutes.
	CacheTTL time.Duration
}

// StaticToken is a bearer token and its user.
type StaticToken struct {
	Token string
	User  user.DefaultInfo
}

// RequestHeader configures authentication by the headers of a proxy with a client
// certificate. If zero, only the aggregator's own certificate is accepted.
type RequestHeader struct {
	// CAs are the CAs of the proxy's client certificate, in PEM.
	CAs []byte
	// AllowedNames are the common names that the certificate may have. If empty, every
	// certificate of CAs is accepted.
	AllowedNames []string
	// UsernameHeaders, UIDHeaders, GroupHeaders and ExtraHeaderPrefixes are the names of
	// headers. If empty, X-Remote-User, X-Remote-Uid, X-Remote-Group and X-Remote-Extra-.
	UsernameHeaders, UIDHeaders, GroupHeaders, ExtraHeaderPrefixes []string
}

// Clone returns a deep copy, except of the authenticators.
func (a Authentication) Clone() Authentication {
	a.Configuration = a.Configuration.DeepCopy()
	a.Tokens = slices.Clone(a.Tokens)
	a.ClientCAs = slices.Clone(a.ClientCAs)
	a.Audiences = slices.Clone(a.Audiences)
	a.Before, a.After = slices.Clone(a.Before), slices.Clone(a.After)
	return a
}

func (a Authentication) validate(at *field.Path) (errs field.ErrorList) {
	return errs
}
