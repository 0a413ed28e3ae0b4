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
	// UserPrefix and the name of a node are the name of its user.
	UserPrefix = "system:node:"
	// Namespace is where the records are.
	Namespace = metav1.NamespaceSystem
	// SecretType is the type of the Secrets that hold records.
	SecretType corev1.SecretType = "kubembed.dev/node-identity"
	// TokenLabelPrefix and the ID of a bootstrap token are a label of the records
	// of nodes that joined with it.
	TokenLabelPrefix = "join-token.kubembed.dev/"
	// KeyExtra is the extra attribute of a node's user that holds the hash of the
	// key it has authenticated with. The API server copies it to each
	// CertificateSigningRequest.
	KeyExtra = "node.kubembed.dev/key-sha256"

	// dataKey is where a Secret has the record.
	dataKey = "record.json"
	// maxName is the longest name that a Secret can have.
	maxName = 253
	// MaxKeys is how many keys a record holds. A kubelet uses the newest one; a
	// node that asks for certificates all the time must not fill etcd.
	MaxKeys = 32
	// maxRevokedKeys is how many revoked keys a record remembers.
	maxRevokedKeys = 4 * MaxKeys
	// maxReservedBy is how many users a record remembers.
	maxReservedBy = 8
)

// Record says which keys may use the name of a node.
type Record struct {
	// Node is the name.
	Node string `json:"node"`
	// Reserved says that no other key may join under the name.
	Reserved bool `json:"reserved,omitempty"`
	// ReservedBy are the users that reserved the name, the first one first, and
	// ReservedAt is the time of the first. Both outlive renewals of certificates.
	ReservedBy []string     `json:"reservedBy,omitempty"`
	ReservedAt *metav1.Time `json:"reservedAt,omitempty"`
	// NodeUID is the UID of the Node that has appeared since the name was reserved.
	// When that Node is gone, so is the reservation.
	NodeUID types.UID `json:"nodeUID,omitempty"`
	// Keys have approved certificates.
	Keys []Key `json:"keys,omitempty"`
	// Revoked is when the identity was revoked last. From then on only Keys are
	// accepted.
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
	// Since is when it was approved.
	Since metav1.Time `json:"since"`
	// NotAfter is when the certificate expires, or a moment later.
	NotAfter metav1.Time `json:"notAfter"`
}

// HashKey is the hash of a public key that a certificate or a request holds. It
// does not depend on how the client has encoded the key.
func HashKey(public any) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("nodeidentity: public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// SecretName is the name of the Secret with the record of a node. Names of nodes
// may be as long as those of Secrets.
func SecretName(node string) string {
	if name := "node-identity." + node; len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(node))
	return "node-identity-sha256." + hex.EncodeToString(sum[:])
}

// NodeOfUser returns the name of the node whose user is called so.
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

// Expires is when the last certificate expires.
func (r *Record) Expires() (last time.Time) {
	for _, k := range r.Keys {
		if k.NotAfter.After(last) {
			last = k.NotAfter.Time
		}
	}
	return last
}

// Reserve gives the name to one key, and takes it from all others.
func (r *Record) Reserve(key Key) {
	r.Release()
	r.Keys = nil
	r.Confirm(key)
}

// Confirm reserves the name for one key more.
func (r *Record) Confirm(key Key) {
	if !r.Reserved {
		r.Reserved, r.ReservedBy, r.ReservedAt = true, nil, key.Since.DeepCopy()
	}
	if !slices.Contains(r.ReservedBy, key.By) && len(r.ReservedBy) < maxReservedBy {
		r.ReservedBy = append(r.ReservedBy, key.By)
	}
	r.Add(key)
}

// Add lets a further key use the name, and drops keys whose certificates had
// expired before.
func (r *Record) Add(key Key) {
	r.Keys = slices.DeleteFunc(r.Keys, func(k Key) bool {
		return k.SHA256 == key.SHA256 || !key.Since.Time.Before(k.NotAfter.Time)
	})
	r.Keys = append(r.Keys, key)
	if more := len(r.Keys) - MaxKeys; more > 0 {
		r.Keys = slices.Delete(r.Keys, 0, more)
	}
}

// Release lets any other key join under the name. Keys that are enforced stay
// so until one does.
func (r *Record) Release() {
	r.Reserved, r.ReservedBy, r.ReservedAt, r.NodeUID = false, nil, nil, ""
}

// Revoke denies all keys that have used the name.
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

// Unregistered are the IDs of the tokens with which the name was reserved, if no
// Node of it has appeared yet.
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

// New makes the Secret of a record that is not stored yet.
func New(r *Record) (*corev1.Secret, error) {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: SecretName(r.Node)},
		Type:       SecretType,
	}
	return secret, Store(r, secret)
}

// Store writes a record to its Secret, which must not be one of an informer.
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

// Load reads a record. A Secret that was put in its place is an error.
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
