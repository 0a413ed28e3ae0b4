// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// WaitForRevokedNode returns when the server refuses the keys of a node that its record
// revokes at resourceVersion. The error is the cause of ctx if that ends first.
func (s *Server) WaitForRevokedNode(ctx context.Context, node, resourceVersion string) error {
	return s.revocations.Nodes.Wait(ctx, node, resourceVersion)
}

// WaitForRevokedCertificate returns when the server refuses the client certificate that a
// Secret of package revocation revokes. The error is the cause of ctx if that ends first.
func (s *Server) WaitForRevokedCertificate(ctx context.Context, secret *corev1.Secret) error {
	return s.revocations.Certificates.Wait(ctx, secret)
}
