// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package nodeidentity

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
)

const (
	// UserPrefix is the prefix of node users, before the name of the node.
	UserPrefix = "system:node:"
	// Namespace is the namespace of the records.
	Namespace = metav1.NamespaceSystem
	// SecretType is the type of the Secrets with records.
	SecretType corev1.SecretType = "kubembed.dev/node-identity"
	// TokenLabelPrefix is the prefix of the labels of a record, before the IDs of the
	// bootstrap tokens with which the node joined.
	TokenLabelPrefix = "join-token.kubembed.dev/"
	// KeyExtra is the extra attribute of a node user with the hash of the key with which
	// it has authenticated. The API server copies it to each CertificateSigningRequest.
	KeyExtra = "node.kubembed.dev/key-sha256"

	// dataKey is the key of the record in the data of a Secret.
	dataKey = "record.json"
	// maxName is the longest name of a Secret.
	maxName = 253
	// maxKeys is the number of keys in a record. A kubelet uses the newest one. A node
	// with many requests for certificates must not fill etcd.
	maxKeys = 32
	// maxRevokedKeys is the number of revoked keys in a record.
	maxRevokedKeys = 4 * maxKeys
	// maxReservedBy is the number of users in a record.
	maxReservedBy = 8
)

// Record has the keys that may use the name of a node.
type Record struct {
	// Node is the name of the node.
	Node string `json:"node"`
	// Reserved means that no other key may join under the name.
	Reserved bool `json:"reserved,omitempty"`
	// ReservedBy are the users that reserved the name, the first one first, and
	// ReservedAt is the time of the first. Both outlive renewals of certificates.
	ReservedBy []string     `json:"reservedBy,omitempty"`
	ReservedAt *metav1.Time `json:"reservedAt,omitempty"`
	// NodeUID is the UID of the Node that was created after the reservation. The
	// deletion of that Node releases the name.
	NodeUID types.UID `json:"nodeUID,omitempty"`
	// Keys have approved certificates.
	Keys []Key `json:"keys,omitempty"`
	// Revoked is the time of the last revocation of the identity. After a revocation
	// only Keys are accepted.
	Revoked *metav1.Time `json:"revoked,omitempty"`
	// RevokedKeys are hashes of revoked keys. They cannot join again.
	RevokedKeys []string `json:"revokedKeys,omitempty"`
}

// Key is one public key.
type Key struct {
	// SHA256 is the hash, from HashKey.
	SHA256 string `json:"sha256"`
	// By is the user whose request for the certificate was approved.
	By string `json:"by"`
	// Request is the name of that request, if there was one.
	Request string `json:"request,omitempty"`
	// Since is the time of the approval.
	Since metav1.Time `json:"since"`
	// NotAfter is the end of the certificate, or shortly after it.
	NotAfter metav1.Time `json:"notAfter"`
}

// HashKey returns the hash of the public key of a certificate or a request. It does not
// depend on the encoding of the client.
func HashKey(public any) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("nodeidentity: public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// SecretName returns the name of the Secret with the record of a node. It is a hash for
// long names: names of nodes can be as long as names of Secrets.
func SecretName(node string) string {
	if name := "node-identity." + node; len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(node))
	return "node-identity-sha256." + hex.EncodeToString(sum[:])
}

// NodeOfUser returns the name of the node with the user name user.
func NodeOfUser(user string) (string, bool) { return strings.CutPrefix(user, UserPrefix) }

// Enforced reports whether only Keys are accepted.
func (r *Record) Enforced() bool { return r.Revoked != nil }

// Has reports whether the key is one of Keys.
func (r *Record) Has(hash string) bool {
	return slices.ContainsFunc(r.Keys, func(k Key) bool { return k.SHA256 == hash })
}

// IsRevoked reports whether the key was revoked.
func (r *Record) IsRevoked(hash string) bool { return slices.Contains(r.RevokedKeys, hash) }

// Expired reports whether every key's certificate has expired.
func (r *Record) Expired(now time.Time) bool {
	return !slices.ContainsFunc(r.Keys, func(k Key) bool { return now.Before(k.NotAfter.Time) })
}

// Expires returns when the last certificate expires.
func (r *Record) Expires() (expires time.Time) {
	for _, k := range r.Keys {
		if k.NotAfter.After(expires) {
			expires = k.NotAfter.Time
		}
	}
	return expires
}

// Reserve reserves the name for one key, and removes all others.
func (r *Record) Reserve(key Key) {
	r.Release()
	r.Keys = nil
	r.Confirm(key)
}

// Confirm reserves the name for an additional key.
func (r *Record) Confirm(key Key) {
	if !r.Reserved {
		r.Reserved, r.ReservedBy, r.ReservedAt = true, nil, key.Since.DeepCopy()
	}
	if !slices.Contains(r.ReservedBy, key.By) && len(r.ReservedBy) < maxReservedBy {
		r.ReservedBy = append(r.ReservedBy, key.By)
	}
	r.Add(key)
}

// Add adds a key that can use the name, and removes keys with expired certificates.
func (r *Record) Add(key Key) {
	r.Keys = slices.DeleteFunc(r.Keys, func(k Key) bool {
		return k.SHA256 == key.SHA256 || !key.Since.Time.Before(k.NotAfter.Time)
	})
	r.Keys = append(r.Keys, key)
	if more := len(r.Keys) - maxKeys; more > 0 {
		r.Keys = slices.Delete(r.Keys, 0, more)
	}
}

// Release allows any other key to join under the name. Until one does, the enforcement of
// Keys remains.
func (r *Record) Release() {
	r.Reserved, r.ReservedBy, r.ReservedAt, r.NodeUID = false, nil, nil, ""
}

// Revoke revokes all keys of the record.
func (r *Record) Revoke(now time.Time) {
	for _, k := range r.Keys {
		if !r.IsRevoked(k.SHA256) {
			r.RevokedKeys = append(r.RevokedKeys, k.SHA256)
		}
	}
	if more := len(r.RevokedKeys) - maxRevokedKeys; more > 0 {
		r.RevokedKeys = slices.Delete(r.RevokedKeys, 0, more)
	}
	r.Release()
	r.Keys, r.Revoked = nil, &metav1.Time{Time: now.UTC()}
}

// Unregistered returns the IDs of the tokens that reserved the name, if its Node does not
// exist yet.
func (r *Record) Unregistered() []string {
	if !r.Reserved || r.NodeUID != "" {
		return nil
	}
	return r.tokens()
}

func (r *Record) tokens() (ids []string) {
	for _, by := range r.ReservedBy {
		if id, ok := strings.CutPrefix(by, bootstrapapi.BootstrapUserPrefix); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// New returns the Secret of a new record.
func New(r *Record) (*corev1.Secret, error) {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: SecretName(r.Node)},
		Type:       SecretType,
	}
	return secret, Store(r, secret)
}

// Store writes a record to its Secret. The Secret must not be an object of an informer.
func Store(r *Record, secret *corev1.Secret) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("nodeidentity: record of node %s: %w", r.Node, err)
	}
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	secret.Data[dataKey] = data
	for label := range secret.Labels {
		if strings.HasPrefix(label, TokenLabelPrefix) {
			delete(secret.Labels, label)
		}
	}
	for _, id := range r.tokens() {
		metav1.SetMetaDataLabel(&secret.ObjectMeta, TokenLabelPrefix+id, "")
	}
	return nil
}

// Load reads a record. A foreign Secret with its name is an error.
func Load(secret *corev1.Secret) (*Record, error) {
	if secret.Type != SecretType {
		return nil, fmt.Errorf("nodeidentity: Secret %s/%s is of type %q, not %s", secret.Namespace, secret.Name, secret.Type, SecretType)
	}
	r := &Record{}
	if err := json.Unmarshal(secret.Data[dataKey], r); err != nil {
		return nil, fmt.Errorf("nodeidentity: Secret %s/%s: %s: %w", secret.Namespace, secret.Name, dataKey, err)
	}
	if secret.Name != SecretName(r.Node) {
		return nil, fmt.Errorf("nodeidentity: Secret %s/%s is the record of node %q", secret.Namespace, secret.Name, cmp.Or(r.Node, "?"))
	}
	return r, nil
}
