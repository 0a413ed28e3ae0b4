// Package revocation is the list of client certificates that are refused although they
// are valid. Each is a Secret in kube-system, with the hash of the certificate's key and
// no secret: few may write Secrets there, and all control planes that share an etcd
// share them.
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
	// Namespace is where the Secrets are.
	Namespace = metav1.NamespaceSystem
	// SecretType is their type.
	SecretType corev1.SecretType = "kubembed.dev/revoked-certificate"

	prefix = "revoked-certificate."
	// userKey and notAfterKey are data of a Secret: the first is for people, the second
	// for Expired.
	userKey, notAfterKey = "user", "notAfter"
)

// New returns the Secret that revokes a certificate, and all others of its key.
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

// Key returns the hash of the key that a Secret revokes, and false if it is none of
// these.
func Key(secret *corev1.Secret) (key string, ok bool) {
	if secret.Type != SecretType || secret.Namespace != Namespace {
		return "", false
	}
	return strings.CutPrefix(secret.Name, prefix)
}

// Expired reports whether the certificate is no longer valid, so that the Secret can go.
func Expired(secret *corev1.Secret, now time.Time) (bool, error) {
	notAfter, err := time.Parse(time.RFC3339, string(secret.Data[notAfterKey]))
	if err != nil {
		return false, fmt.Errorf("revocation: Secret %s/%s: %s: %w", secret.Namespace, secret.Name, notAfterKey, err)
	}
	return now.After(notAfter), nil
}
