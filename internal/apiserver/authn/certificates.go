// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

// OwnCertificates answers for clients with a certificate of the control plane itself
// before authenticators of the host, which could accept them as another user.
type OwnCertificates struct {
	// Certificates authenticates by certificates of PKI only.
	Certificates authenticator.Request
	// BuiltIn has no authenticators of the host.
	BuiltIn authenticator.Request
	// Reserved are the users of certificates that only the server itself presents.
	Reserved []string
	// Next has all authenticators.
	Next authenticator.Request
}

// AuthenticateRequest implements authenticator.Request.
func (o OwnCertificates) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		response, ok, err := o.Certificates.AuthenticateRequest(r)
		if err == nil && ok && (slices.Contains(response.User.GetGroups(), user.SystemPrivilegedGroup) || slices.Contains(o.Reserved, response.User.GetName())) {
			return o.BuiltIn.AuthenticateRequest(r)
		}
	}
	return o.Next.AuthenticateRequest(r)
}

// ForeignCertificates refuses users that a CA of the host certifies, and that only the
// control plane may name: nodes, administrators, its own parts.
type ForeignCertificates struct {
	authenticator.Request
	// Reserved are the control plane's users without the prefix "system:".
	Reserved []string
	Logger   *zap.Logger
}

const systemPrefix = "system:"

// AuthenticateRequest implements authenticator.Request.
func (f ForeignCertificates) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	response, ok, err := f.Request.AuthenticateRequest(r)
	if err != nil || !ok {
		return response, ok, err
	}
	refused := ""
	if name := response.User.GetName(); strings.HasPrefix(name, systemPrefix) || slices.Contains(f.Reserved, name) {
		refused = "user " + name
	}
	for _, group := range response.User.GetGroups() {
		if strings.HasPrefix(group, systemPrefix) && group != user.AllAuthenticated {
			refused = "group " + group
		}
	}
	if refused == "" {
		return response, true, nil
	}
	f.Logger.Warn("a client certificate was refused: only the control plane's own CA may name its users and groups",
		zap.String("certificate", response.User.GetName()), zap.String("refused", refused), zap.String("client", r.RemoteAddr))
	return nil, false, fmt.Errorf("a CA of Config.Authentication.ClientCAs cannot certify the %s", refused)
}

// WithHeader asks an authenticator only if a request has one of its headers: it would
// verify the certificate of each client.
type WithHeader struct {
	authenticator.Request
	Headers []string
}

// AuthenticateRequest implements authenticator.Request.
func (w WithHeader) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if !slices.ContainsFunc(w.Headers, func(name string) bool { return r.Header.Get(name) != "" }) {
		return nil, false, nil
	}
	return w.Request.AuthenticateRequest(r)
}
