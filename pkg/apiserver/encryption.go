// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"

	"github.com/kubembed/kubembed/internal/fieldpath"
)

// Encryption selects the resources that are encrypted on their way to etcd, and the keys.
// Its zero value encrypts nothing.
//
// The first of Keys encrypts, and all of them decrypt. Objects that were stored before
// there were keys, or before their resource was in Resources, are read as plaintext. They
// are encrypted when they are next written, or all at once by Server.Reencrypt. A client
// that can write to etcd can therefore store objects in plaintext.
//
// A key rotation takes three starts of all servers that share the data. Start with the
// new key after the old one, so that all servers can read it. Start with the new key
// first, and call Reencrypt. Start without the old key. To end encryption, set
// WritePlaintext, call Reencrypt, and then remove Keys.
//
// Old revisions of an object stay in etcd until they are compacted. Their bytes stay in
// the database until they are overwritten or the database is defragmented, in the
// write-ahead log until it is rotated, and in snapshots. A rotation does not protect them
// from a key that was disclosed.
//
// Without the keys, encrypted objects cannot be recovered. Snapshots do not contain the
// keys: keep a copy of them in another place.
type Encryption struct {
	// Resources are encrypted. They have the names of kube-apiserver's
	// EncryptionConfiguration: "secrets", "configmaps", "widgets.example.com", "*.apps",
	// "*." for the core group, "*.*" for all resources, including custom resources. If
	// empty, "secrets".
	Resources []string
	// Keys encrypt and decrypt: the first does both.
	Keys []EncryptionKey
	// WritePlaintext writes all resources in plaintext. Keys still decrypt.
	WritePlaintext bool
}

// EncryptionKey is one of Secretbox, AESGCM and KMS.
type EncryptionKey struct {
	// Name is stored with each object that the key encrypts, and must not change. If
	// empty, it is a hash of the key, or "kms" for a KMS. To read objects that
	// kube-apiserver has written, set it to the name in its EncryptionConfiguration.
	Name string

	// Secretbox is a key of 32 random bytes for XSalsa20 and Poly1305. Kubernetes
	// recommends it if there is no KMS.
	Secretbox []byte
	// AESGCM is a key of 16, 24 or 32 random bytes for AES in Galois/Counter mode. Its
	// nonces are random: Kubernetes requires a new key every 200,000 writes. Writes are
	// not counted here.
	AESGCM []byte
	// KMS is a key-management service that holds the keys.
	KMS KMS
}

// KMS is a KMS plugin of version 2 (k8s.io/kms).
type KMS struct {
	// Endpoint is the socket of the plugin, like "unix:///run/kms.sock".
	Endpoint string
	// Timeout bounds each call. If zero, it is three seconds, as upstream.
	Timeout time.Duration
}

// Clone returns a deep copy.
func (e Encryption) Clone() Encryption {
	e.Resources = slices.Clone(e.Resources)
	e.Keys = slices.Clone(e.Keys)
	for i, key := range e.Keys {
		e.Keys[i].Secretbox, e.Keys[i].AESGCM = bytes.Clone(key.Secretbox), bytes.Clone(key.AESGCM)
	}
	return e
}

func (e Encryption) withDefaults() Encryption {
	e = e.Clone()
	if len(e.Resources) == 0 {
		e.Resources = []string{"secrets"}
	}
	for i, key := range e.Keys {
		switch secret := append(slices.Clip(key.Secretbox), key.AESGCM...); {
		case key.Name != "":
		case key.KMS.Endpoint != "":
			e.Keys[i].Name = "kms"
		default:
			e.Keys[i].Name = fmt.Sprintf("%x", sha256.Sum256(secret))[:8]
		}
		if key.KMS.Timeout == 0 {
			e.Keys[i].KMS.Timeout = 3 * time.Second
		}
	}
	return e
}

// validate returns errors without the values of keys.
func (e Encryption) validate(at *field.Path) (errs field.ErrorList) {
	if len(e.Keys) == 0 {
		if len(e.Resources) > 0 || e.WritePlaintext {
			errs = append(errs, fieldpath.Detail(field.Required(at.Child("Keys"), ""), "%s or %s is set, but there is no key",
				fieldpath.NameOf(at.Child("Resources")), fieldpath.NameOf(at.Child("WritePlaintext"))))
		}
		return errs
	}
	names := map[string]bool{}
	for i, key := range e.withDefaults().Keys {
		at := at.Child("Keys").Index(i)
		errs = append(errs, key.validate(at)...)
		if names[key.Name] {
			errs = append(errs, field.Duplicate(at.Child("Name"), key.Name))
		}
		names[key.Name] = true
	}
	// Upstream validates the names of resources as in its configuration file.
	upstream := &apiserver.EncryptionConfiguration{Resources: []apiserver.ResourceConfiguration{{
		Resources: e.withDefaults().Resources,
		Providers: []apiserver.ProviderConfiguration{{Identity: &apiserver.IdentityConfiguration{}}},
	}}}
	for _, err := range validation.ValidateEncryptionConfiguration(upstream, false) {
		err.Field = strings.Replace(err.Field, "resources[0].resources", at.Child("Resources").String(), 1)
		errs = append(errs, err)
	}
	return errs
}

func (k EncryptionKey) validate(at *field.Path) (errs field.ErrorList) {
	kinds := 0
	for _, set := range []bool{len(k.Secretbox) > 0, len(k.AESGCM) > 0, k.KMS.Endpoint != ""} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		errs = append(errs, fieldpath.Detail(field.Invalid(at, field.OmitValueType{}, ""), "must have one of %s, %s and %s",
			fieldpath.NameOf(at.Child("Secretbox")), fieldpath.NameOf(at.Child("AESGCM")), fieldpath.NameOf(at.Child("KMS", "Endpoint"))))
	}
	if strings.Contains(k.Name, ":") {
		errs = append(errs, field.Invalid(at.Child("Name"), k.Name, "must not contain a colon"))
	}
	length := func(name string, key []byte, allowed ...int) {
		if len(key) > 0 && !slices.Contains(allowed, len(key)) {
			errs = append(errs, field.Invalid(at.Child(name), field.OmitValueType{}, fmt.Sprintf("it has %d bytes, but must have one of %v", len(key), allowed)))
		}
	}
	length("Secretbox", k.Secretbox, 32)
	length("AESGCM", k.AESGCM, 16, 24, 32)
	if k.KMS.Endpoint != "" && !strings.HasPrefix(k.KMS.Endpoint, "unix://") {
		errs = append(errs, field.Invalid(at.Child("KMS", "Endpoint"), k.KMS.Endpoint, `must be a unix socket, like "unix:///run/kms.sock"`))
	}
	if k.KMS.Timeout < 0 {
		errs = append(errs, field.Invalid(at.Child("KMS", "Timeout"), k.KMS.Timeout.String(), "must not be negative; zero is three seconds"))
	}
	return errs
}

// providers are the keys in the form of kube-apiserver's EncryptionConfiguration.
func (e Encryption) providers() (providers []apiserverv1.ProviderConfiguration) {
	for _, key := range e.Keys {
		keys := func(secret []byte) []apiserverv1.Key {
			return []apiserverv1.Key{{Name: key.Name, Secret: base64.StdEncoding.EncodeToString(secret)}}
		}
		var provider apiserverv1.ProviderConfiguration
		switch {
		case len(key.Secretbox) > 0:
			provider.Secretbox = &apiserverv1.SecretboxConfiguration{Keys: keys(key.Secretbox)}
		case len(key.AESGCM) > 0:
			provider.AESGCM = &apiserverv1.AESConfiguration{Keys: keys(key.AESGCM)}
		default:
			provider.KMS = &apiserverv1.KMSConfiguration{
				APIVersion: "v2", Name: key.Name, Endpoint: key.KMS.Endpoint, Timeout: &metav1.Duration{Duration: key.KMS.Timeout},
			}
		}
		providers = append(providers, provider)
	}
	return providers
}
