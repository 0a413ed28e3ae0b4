// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ServiceAccounts configures the tokens of service accounts.
type ServiceAccounts struct {
	// Issuers are the accepted issuers of tokens. The first one issues. If empty,
	// https://kubernetes.default.svc.cluster.local.
	Issuers []string
	// JWKSURI is the URI of the keys in the discovery document at
	// /.well-known/openid-configuration. If empty, at the address of the server.
	JWKSURI string
	// MaxTokenExpiration bounds the validity of tokens of TokenRequests. At least one
	// hour. If zero, unbounded.
	MaxTokenExpiration time.Duration
	// SigningEndpoint is the socket of an external signer (k8s.io/externaljwt), like
	// "/run/signer.sock". If empty, PKI's key signs.
	SigningEndpoint string
}

// Clone returns a deep copy.
func (s ServiceAccounts) Clone() ServiceAccounts {
	s.Issuers = slices.Clone(s.Issuers)
	return s
}

func (s ServiceAccounts) validate(at *field.Path) (errs field.ErrorList) {
	return errs
}
