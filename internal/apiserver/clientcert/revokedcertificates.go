// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package clientcert

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/nodeidentity"
	"github.com/kubembed/kubembed/internal/revocation"
)

var errRevokedCertificate = errors.New("apiserver: the client certificate was revoked")

// RevokedCertificates refuses client certificates that a Secret of package revocation
// revokes.
type RevokedCertificates struct {
	synced func() bool
	keys   sync.Map // of revoked certificates
	conns  Conns    // by key
}

func newRevokedCertificates(secrets cache.SharedIndexInformer) (*RevokedCertificates, error) {
	r := &RevokedCertificates{}
	registration, err := secrets.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { r.set(object, true) },
		// The key is in the name, and the type of a Secret does not change.
		DeleteFunc: func(object any) {
			if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			r.set(object, false)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("apiserver: revoked certificates: %w", err)
	}
	r.synced = registration.HasSynced
	return r, nil
}

func (r *RevokedCertificates) set(object any, revoked bool) {
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return
	}
	key, ok := revocation.Key(secret)
	if !ok {
		return
	}
	if !revoked {
		r.keys.Delete(key)
		return
	}
	r.keys.Store(key, nil)
	r.conns.Close(key, func(string) bool { return false })
}

func (r *RevokedCertificates) has(key string) bool {
	_, revoked := r.keys.Load(key)
	return revoked
}

// check refuses users of a revoked certificate. A user that presents such a certificate
// but is accepted by a token is not refused.
func (r *RevokedCertificates) check(req *http.Request, response *authenticator.Response) error {
	if req.TLS == nil || len(req.TLS.PeerCertificates) == 0 {
		return nil
	}
	certificate := req.TLS.PeerCertificates[0]
	key, err := r.keyOf(req, certificate)
	if err != nil {
		return err
	}
	// Add the connection before the check: one of the two sees a concurrent revocation.
	r.conns.Add(req, key, key)
	if r.has(key) && Identifies(response, certificate) {
		return errRevokedCertificate
	}
	return nil
}

// keyOf returns the hash of the key of a client certificate. A connection presents one
// certificate during its life, so that the hash is computed once for each connection.
func (r *RevokedCertificates) keyOf(req *http.Request, certificate *x509.Certificate) (string, error) {
	conn := r.conns.Of(req)
	if conn != nil {
		if hash := conn.KeyHash.Load(); hash != nil {
			return *hash, nil
		}
	}
	hash, err := nodeidentity.HashKey(certificate.PublicKey)
	if err != nil {
		return "", fmt.Errorf("apiserver: client certificate: %w", err)
	}
	if conn != nil {
		conn.KeyHash.Store(&hash)
	}
	return hash, nil
}

// waitSynced returns when the revocations from before the start are known.
func (r *RevokedCertificates) waitSynced(ctx context.Context) error {
	if err := lifecycle.Poll(ctx, r.synced); err != nil {
		return fmt.Errorf("apiserver: revoked certificates: %w", err)
	}
	return nil
}

// Wait returns when the client certificate is refused that a Secret of package revocation
// revokes. The error is the cause of ctx if that ends first.
func (r *RevokedCertificates) Wait(ctx context.Context, secret *corev1.Secret) error {
	key, ok := revocation.Key(secret)
	if !ok {
		return fmt.Errorf("apiserver: Secret %s/%s revokes no certificate", secret.Namespace, secret.Name)
	}
	return lifecycle.Poll(ctx, func() bool { return r.has(key) })
}
