// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
	"k8s.io/kubernetes/pkg/serviceaccount"

	"github.com/kubembed/kubembed/internal/apiserver/authn"
	"github.com/kubembed/kubembed/internal/fieldpath"
)

// ServiceAccounts configures the tokens of service accounts. Its zero value issues tokens
// as kube-apiserver does.
type ServiceAccounts struct {
	// Issuers are the accepted issuers of tokens (--service-account-issuer). The first
	// one issues. If empty, https://kubernetes.default.svc.cluster.local. The discovery
	// document is served only if the first one is an https URL.
	Issuers []string
	// JWKSURI is the https URI of the keys in the discovery document at
	// /.well-known/openid-configuration (--service-account-jwks-uri). If empty, at the
	// address of the server. It is an error if the discovery document is not served.
	JWKSURI string
	// MaxTokenExpiration bounds the validity of tokens
	// (--service-account-max-token-expiration): requests for more get this. It must be
	// at least one hour. If zero, unbounded, or what the signer signs.
	MaxTokenExpiration time.Duration
	// NoExtendedExpiration issues tokens for pods with the validity of an hour that they
	// ask for. By default such tokens are valid for a year, so that programs that do not
	// read a new token keep working (--service-account-extend-token-expiration).
	NoExtendedExpiration bool
	// SigningEndpoint is the Unix socket of an external signer (k8s.io/externaljwt), like
	// "/run/signer.sock", or "@name" for an abstract socket
	// (--service-account-signing-endpoint). The signer must run when the server starts,
	// and the socket must belong to the user of this process or root.
	// Its keys are the only ones: tokens that PKI's key has signed are refused, and
	// package controlplane puts no tokens into Secrets of type
	// kubernetes.io/service-account-token. If empty, PKI's key signs.
	SigningEndpoint string
}

// Clone returns a deep copy.
func (s ServiceAccounts) Clone() ServiceAccounts {
	s.Issuers = slices.Clone(s.Issuers)
	return s
}

const (
	minTokenExpiration = time.Hour
	maxTokenExpiration = (1 << 32) * time.Second
)

// discoverable reports whether upstream serves the discovery document of an issuer.
func discoverable(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && u.Scheme == "https" && u.RawQuery == "" && u.Fragment == ""
}

func (s ServiceAccounts) validate(at *field.Path) (errs field.ErrorList) {
	for i, issuer := range s.Issuers {
		at := at.Child("Issuers").Index(i)
		switch {
		case issuer == "":
			errs = append(errs, field.Required(at, "an issuer, like https://kubernetes.default.svc.cluster.local"))
		case slices.Contains(s.Issuers[:i], issuer):
			errs = append(errs, field.Duplicate(at, issuer))
		case strings.Contains(issuer, ":"):
			if _, err := url.Parse(issuer); err != nil {
				errs = append(errs, field.Invalid(at, issuer, "has a colon, so that it must be a URL: "+err.Error()))
			}
		}
	}
	if s.JWKSURI != "" {
		if u, err := url.Parse(s.JWKSURI); err != nil || u.Scheme != "https" || u.Host == "" {
			errs = append(errs, field.Invalid(at.Child("JWKSURI"), s.JWKSURI, "must be an https URL"))
		}
		if len(s.Issuers) > 0 && !discoverable(s.Issuers[0]) {
			errs = append(errs, fieldpath.Detail(field.Forbidden(at.Child("JWKSURI"), ""), "it has no effect: there is no discovery document, because %s, %q, is no https URL without query and fragment: use such a URL as the first issuer, or leave out the URI", fieldpath.NameOf(at.Child("Issuers").Index(0)), s.Issuers[0]))
		}
	}
	if d := s.MaxTokenExpiration; d != 0 && (d < minTokenExpiration || d > maxTokenExpiration) {
		errs = append(errs, field.Invalid(at.Child("MaxTokenExpiration"), d.String(), fmt.Sprintf("must be between %s and 2^32 seconds; zero is unbounded", minTokenExpiration)))
	}
	if name, abstract := strings.CutPrefix(s.SigningEndpoint, "@"); abstract && name == "" {
		errs = append(errs, field.Invalid(at.Child("SigningEndpoint"), s.SigningEndpoint, "has no name after @"))
	}
	return errs
}

// serviceAccounts issues and verifies tokens.
type serviceAccounts struct {
	generator                            serviceaccount.TokenGenerator
	keys                                 serviceaccount.PublicKeysGetter
	maxExpiration, maxExtendedExpiration time.Duration
}

// newServiceAccounts sets up tokens by PKI's key or by the external signer.
func newServiceAccounts(e *environment) (s serviceAccounts, err error) {
	cfg := e.config.ServiceAccounts
	s.maxExpiration = cfg.MaxTokenExpiration
	s.maxExtendedExpiration = kubeoptions.NewBuiltInAuthenticationOptions().WithServiceAccounts().ServiceAccounts.MaxExtendedExpiration
	if cfg.SigningEndpoint == "" {
		if s.generator, err = serviceaccount.JWTTokenGenerator(cfg.Issuers[0], e.config.PKI.ServiceAccountKey()); err != nil {
			return s, fmt.Errorf("apiserver: service-account issuer: %w", err)
		}
		s.keys, err = authn.ServiceAccountKeys(e.config.PKI.ServiceAccountPublicKeys())
		return s, err
	}
	signer, err := authn.NewSigner(e.ctx, cfg.Issuers[0], cfg.SigningEndpoint)
	if err != nil {
		return s, fieldpath.New("apiserver", "Config.ServiceAccounts.SigningEndpoint", "%w", err)
	}
	switch {
	case s.maxExpiration == 0:
		s.maxExpiration = signer.MaxExpiration
	case s.maxExpiration > signer.MaxExpiration:
		return s, fieldpath.New("apiserver", "Config.ServiceAccounts.MaxTokenExpiration", "%s is more than the %s for which the external signer signs", s.maxExpiration, signer.MaxExpiration)
	}
	s.generator, s.keys = signer.Generator, signer.Keys
	s.maxExtendedExpiration = min(s.maxExtendedExpiration, signer.MaxExpiration)
	if !cfg.NoExtendedExpiration && s.maxExpiration < serviceaccount.WarnOnlyBoundTokenExpirationSeconds*time.Second {
		e.config.Logger.Warn("the external signer signs for less than an hour: the server cannot count the uses of tokens of pods that should have been renewed", zap.Duration("expiration", s.maxExpiration))
	}
	return s, nil
}
