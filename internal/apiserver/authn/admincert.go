// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"bytes"
	"encoding/pem"
	"net/http"
	"slices"
	"sync"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/kubembed/kubembed/pkg/pki"
)

// AdminCertificate is the client certificate in Server.ClientConfig. It is issued by the
// first call of Current.
type AdminCertificate struct {
	mu     sync.RWMutex
	pair   pki.KeyPair
	issued [][]byte // in DER
}

// Current returns the certificate of the user name, and replaces it when it is about to
// expire.
func (a *AdminCertificate) Current(keys *pki.PKI, name string) (pki.KeyPair, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	pair, err := keys.RenewClient(a.pair, name, []string{user.SystemPrivilegedGroup})
	if err != nil || bytes.Equal(pair.Cert, a.pair.Cert) {
		return a.pair, err
	}
	a.pair = pair
	if block, _ := pem.Decode(pair.Cert); block != nil {
		a.issued = append(a.issued, block.Bytes)
	}
	return pair, nil
}

// has reports whether a certificate, in DER, was returned by Current.
func (a *AdminCertificate) has(certificate []byte) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.ContainsFunc(a.issued, func(issued []byte) bool { return bytes.Equal(issued, certificate) })
}

// WithTokens adds the bearer tokens of users, which never leave the process, to the
// authenticators others.
func WithTokens(others authenticator.Request, audiences authenticator.Audiences, users *Users, admin *AdminCertificate) authenticator.Request {
	tokens := bearertoken.New(authenticator.WrapAudienceAgnosticToken(audiences, users))
	return certificateFirst{
		with:    ignoreAdminCertificate{union.New(others, tokens), admin},
		without: union.New(tokens, others),
	}
}

// certificateFirst authenticates by the client certificate before the token, as upstream
// does. A copy of a client configuration with a token of this process and the certificate
// of jane is the user jane.
type certificateFirst struct{ with, without authenticator.Request }

func (b certificateFirst) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return b.with.AuthenticateRequest(r)
	}
	return b.without.AuthenticateRequest(r)
}

// ignoreAdminCertificate ignores the certificate of Server.ClientConfig if the request
// has other credentials: a copy of that configuration with jane's token must not be an
// administrator.
type ignoreAdminCertificate struct {
	authenticator.Request
	admin *AdminCertificate
}

func (a ignoreAdminCertificate) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if r.Header.Get("Authorization") == "" || !a.admin.has(r.TLS.PeerCertificates[0].Raw) {
		return a.Request.AuthenticateRequest(r)
	}
	// The copy shares the headers: authenticators delete the credentials that they
	// accept.
	tokenOnly, state := *r, *r.TLS
	state.PeerCertificates, state.VerifiedChains = nil, nil
	tokenOnly.TLS = &state
	return a.Request.AuthenticateRequest(&tokenOnly)
}
