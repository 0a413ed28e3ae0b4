// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package revocation stores the revocations of client certificates. Each is a Secret in
// kube-system with the hash of the certificate's key and nothing secret. Few users may
// write Secrets there, and all control planes that share an etcd share them.
package revocation

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubembed/kubembed/internal/nodeidentity"
)

const (
	// Namespace is the namespace of the Secrets.
	Namespace = metav1.NamespaceSystem
	// SecretType is the type of the Secrets.
	SecretType corev1.SecretType = "kubembed.dev/revoked-certificate"

	prefix = "revoked-certificate."
	// userKey and notAfterKey are keys in the data of a Secret. The user is informative.
	// Expired reads notAfter.
	userKey, notAfterKey = "user", "notAfter"
)

// New returns a Secret that revokes a certificate and all others with the same key.
func New(certificate *x509.Certificate) (*corev1.Secret, error) {
	key, err := nodeidentity.HashKey(certificate.PublicKey)
	if err != nil {
		return nil, err
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: prefix + key},
		Type:       SecretType,
		Data: map[string][]byte{
			userKey:     []byte(certificate.Subject.CommonName),
			notAfterKey: []byte(certificate.NotAfter.UTC().Format(time.RFC3339)),
		},
	}, nil
}

// Key returns the hash of the key that a Secret revokes. It reports false for other
// Secrets.
func Key(secret *corev1.Secret) (key string, ok bool) {
	if secret.Type != SecretType || secret.Namespace != Namespace {
		return "", false
	}
	return strings.CutPrefix(secret.Name, prefix)
}

// Expired reports whether the certificate has expired, so that the Secret can be deleted.
func Expired(secret *corev1.Secret, now time.Time) (bool, error) {
	notAfter, err := time.Parse(time.RFC3339, string(secret.Data[notAfterKey]))
	if err != nil {
		return false, fmt.Errorf("revocation: Secret %s/%s: %s: %w", secret.Namespace, secret.Name, notAfterKey, err)
	}
	return now.After(notAfter), nil
}
