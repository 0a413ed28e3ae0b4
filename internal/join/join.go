// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package join defines join tokens: the group of their holders, and their format.
package join

import (
	"crypto/rand"
	"regexp"
	"strings"

	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	bootstraputil "k8s.io/cluster-bootstrap/token/util"
)

// Group is the group of clients with a join token. It is bound only to a role that can
// create CertificateSigningRequests and read them by name. Requests of its members for
// client certificates of kubelets are approved.
const Group = "system:bootstrappers:kubembed:join"

// Token is a bootstrap token of upstream, <id>.<secret>. Its secret can be longer than
// upstream's 16 characters, which are 83 bits.
type Token struct {
	ID     string // in the name of the Secret, and not secret
	Secret string
}

// format differs from upstream's only in the length of the secret.
var format = regexp.MustCompile(`\A([a-z0-9]{6})\.([a-z0-9]{16,64})\z`)

// ParseToken parses a token. It reports false if the format is invalid.
func ParseToken(token string) (Token, bool) {
	parts := format.FindStringSubmatch(token)
	if parts == nil {
		return Token{}, false
	}
	return Token{ID: parts[1], Secret: parts[2]}, true
}

// NewToken generates a token with at least 128 random bits in its secret.
func NewToken() Token {
	return Token{
		ID:     strings.ToLower(rand.Text())[:bootstrapapi.BootstrapTokenIDBytes],
		Secret: strings.ToLower(rand.Text()),
	}
}

// String returns the token as clients send it. It is secret.
func (t Token) String() string { return bootstraputil.TokenFromIDAndSecret(t.ID, t.Secret) }

// SecretName returns the name of the token's Secret in kube-system.
func (t Token) SecretName() string { return bootstraputil.BootstrapTokenSecretName(t.ID) }
