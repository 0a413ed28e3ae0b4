// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bytes"
	"regexp"
	"strings"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"

	etcdrestore "github.com/kubembed/kubembed/internal/etcd/restore"
)

// A snapshot does not know later revocations. Restore therefore leaves out every
// bootstrap token, and the unsigned certificate requests of token holders. Their keys
// identify both, with any Config.Etcd.Prefix, and even if values are encrypted. Restore
// also leaves out the leases of the API servers that ran at the time of the snapshot: to
// the first start they would look like a crash.
var (
	tokenKey   = regexp.MustCompile(`/secrets/` + metav1.NamespaceSystem + `/` + bootstrapapi.BootstrapTokenSecretPrefix + `[a-z0-9]{6}$`)
	requestKey = regexp.MustCompile(`/certificatesigningrequests/[^/]+$`)
	serverKey  = regexp.MustCompile(`/masterleases/[^/]+$`)
)

// encrypted is the prefix of values that Config.Encryption has encrypted.
var encrypted = []byte("k8s:enc:")

// invalidated collects the tokens and requests that a restore has left out.
type invalidated struct{ tokens, requests []string }

// apply configures a restore to leave them out, unless join files are kept.
func (i *invalidated) apply(c *etcdrestore.Config, keepJoinKubeconfigs bool) {
	c.Drop = func(key, value []byte) bool {
		return isServerLease(key, value) || !keepJoinKubeconfigs && (isToken(key, value) || isTokenRequest(key, value))
	}
	c.Dropped = func(key []byte) {
		name := string(key[bytes.LastIndexByte(key, '/')+1:])
		switch {
		case tokenKey.Match(key):
			i.tokens = append(i.tokens, name)
		case requestKey.Match(key):
			i.requests = append(i.requests, name)
		}
	}
}

// log logs the keys that were left out. The name of a token is not a secret.
func (i *invalidated) log(logger *zap.Logger) {
	if logger != nil && len(i.tokens)+len(i.requests) > 0 {
		logger.Warn("the join files from before the restore are invalid, because some may have been revoked after the snapshot: workers that have joined are not affected, others need a new join file",
			zap.Strings("tokens", i.tokens), zap.Strings("certificate-requests", i.requests))
	}
}

// isServerLease reports whether an object is the lease of an API server. Custom resources
// may have such keys too.
func isServerLease(key, value []byte) bool {
	return serverKey.Match(key) && decode(value, &corev1.Endpoints{}) //nolint:staticcheck // what upstream stores
}

// isToken reports whether an object is a bootstrap token, or may be one.
func isToken(key, value []byte) bool {
	if !tokenKey.Match(key) {
		return false
	}
	if bytes.HasPrefix(value, encrypted) {
		return true
	}
	var secret corev1.Secret
	return decode(value, &secret) && secret.Type == bootstrapapi.SecretTypeBootstrapToken
}

// isTokenRequest reports whether an object is, or may be, an unsigned certificate request
// of the holder of a bootstrap token. It would be signed after the restore.
func isTokenRequest(key, value []byte) bool {
	if !requestKey.Match(key) {
		return false
	}
	if bytes.HasPrefix(value, encrypted) {
		return true
	}
	var request certificatesv1.CertificateSigningRequest
	return decode(value, &request) && strings.HasPrefix(request.Spec.Username, bootstrapapi.BootstrapUserPrefix) && len(request.Status.Certificate) == 0
}

// decode decodes a stored object, and reports whether it has the type of into.
func decode(value []byte, into runtime.Object) bool {
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(value, nil, into)
	return err == nil && object == into
}
