// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package revocation_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubembed/kubembed/internal/nodeidentity"
	"github.com/kubembed/kubembed/internal/revocation"
)

func publicKey(t *testing.T) crypto.PublicKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key.Public()
}

// TestKey: a Secret revokes the key of its certificate, and other Secrets revoke none.
func TestKey(t *testing.T) {
	key := publicKey(t)
	secret, err := revocation.New(&x509.Certificate{PublicKey: key, Subject: pkix.Name{CommonName: "jane"}, NotAfter: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if problems := validation.IsDNS1123Subdomain(secret.Name); len(problems) > 0 {
		t.Errorf("the API server refuses the name %q: %q", secret.Name, problems)
	}
	want, err := nodeidentity.HashKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := revocation.Key(secret); !ok || got != want {
		t.Errorf("Key() = %q, %v, want %q", got, ok, want)
	}
	renewed, err := revocation.New(&x509.Certificate{PublicKey: key, NotAfter: time.Now().Add(time.Hour)})
	if err != nil || renewed.Name != secret.Name {
		t.Errorf("another certificate of the same key: %v, %v, want the name %s", renewed, err, secret.Name)
	}
	other, err := revocation.New(&x509.Certificate{PublicKey: publicKey(t), Subject: pkix.Name{CommonName: "jane"}})
	if err != nil || other.Name == secret.Name {
		t.Errorf("another key of the same user: %v, %v, want another name", other, err)
	}
	for name, change := range map[string]func(*corev1.Secret){
		"another namespace": func(s *corev1.Secret) { s.Namespace = "default" },
		"another type":      func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque },
		"another name":      func(s *corev1.Secret) { s.Name = want },
	} {
		changed := secret.DeepCopy()
		change(changed)
		if key, ok := revocation.Key(changed); ok {
			t.Errorf("%s: revokes %q", name, key)
		}
	}
	if _, err := revocation.New(&x509.Certificate{PublicKey: "no key"}); err == nil {
		t.Error("a certificate without a usable key has a Secret")
	}
}

func TestExpired(t *testing.T) {
	notAfter := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 2*3600))
	secret, err := revocation.New(&x509.Certificate{PublicKey: publicKey(t), NotAfter: notAfter})
	if err != nil {
		t.Fatal(err)
	}
	for now, want := range map[time.Time]bool{
		notAfter.Add(-time.Second): false,
		notAfter:                   false, // certificates are valid at it
		notAfter.Add(time.Second):  true,
	} {
		if got, err := revocation.Expired(secret, now); err != nil || got != want {
			t.Errorf("at %s: got %v, %v, want %v", now, got, err, want)
		}
	}
	// Others may write Secrets: one without a usable time stays, and is named.
	for _, data := range []map[string][]byte{nil, {"notAfter": []byte("tomorrow")}} {
		secret.Data = data
		if expired, err := revocation.Expired(secret, time.Now()); expired || err == nil || !strings.Contains(err.Error(), secret.Namespace+"/"+secret.Name) {
			t.Errorf("data %q: got %v, %v", data, expired, err)
		}
	}
}
