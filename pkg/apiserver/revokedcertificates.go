package apiserver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/apiserver/clientcert"
	"github.com/kubembed/kubembed/internal/lifecycle"
	"github.com/kubembed/kubembed/internal/nodeidentity"
	"github.com/kubembed/kubembed/internal/revocation"
)

var errRevokedCertificate = errors.New("apiserver: the client certificate was revoked")

// revokedCertificates refuses the client certificates of package revocation, and closes
// the connections on which they were shown. It asks nothing but memory, as revokedNodes.
type revokedCertificates struct {
	synced func() bool
	keys   sync.Map         // the revoked ones
	conns  clientcert.Conns // by key
}

func newRevokedCertificates(secrets cache.SharedIndexInformer) (*revokedCertificates, error) {
	r := &revokedCertificates{}
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

func (r *revokedCertificates) set(object any, revoked bool) {
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

func (r *revokedCertificates) has(key string) bool {
	_, revoked := r.keys.Load(key)
	return revoked
}

// wrap refuses users whose certificate is revoked that next accepts. Who has shown such a
// certificate, and was accepted for a token, is not refused.
func (r *revokedCertificates) wrap(next authenticator.Request) authenticator.Request {
	return authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		response, ok, err := next.AuthenticateRequest(req)
		if err != nil || !ok || req.TLS == nil || len(req.TLS.PeerCertificates) == 0 {
			return response, ok, err
		}
		certificate := req.TLS.PeerCertificates[0]
		key, err := r.keyOf(req, certificate)
		if err != nil {
			return nil, false, err
		}
		// First known, then judged: one of the two finds a key that is revoked in between.
		r.conns.Add(req, key, key)
		if r.has(key) && clientcert.Identifies(response, certificate) {
			return nil, false, errRevokedCertificate
		}
		return response, true, nil
	})
}

// keyOf returns the hash of the key of a client certificate. A connection shows the same
// certificate as long as it lives, so that the hash is computed once for each.
func (r *revokedCertificates) keyOf(req *http.Request, certificate *x509.Certificate) (string, error) {
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
func (r *revokedCertificates) waitSynced(ctx context.Context) error {
	if err := lifecycle.Poll(ctx, r.synced); err != nil {
		return fmt.Errorf("apiserver: revoked certificates: %w", err)
	}
	return nil
}

// connContext is http.Server's ConnContext.
func (g *generic) connContext(ctx context.Context, c net.Conn) context.Context {
	return g.revokedCertificates.conns.Context(g.revoked.conns.Context(ctx, c), c)
}

// connState is http.Server's ConnState.
func (g *generic) connState(c net.Conn, state http.ConnState) {
	g.revoked.conns.State(c, state)
	g.revokedCertificates.conns.State(c, state)
}

// WaitForRevokedCertificate returns when the server refuses the client certificate that a
// Secret of package revocation revokes. The error is the cause of ctx, when that ends
// first.
func (s *Server) WaitForRevokedCertificate(ctx context.Context, secret *corev1.Secret) error {
	key, ok := revocation.Key(secret)
	if !ok {
		return fmt.Errorf("apiserver: Secret %s/%s revokes no certificate", secret.Namespace, secret.Name)
	}
	return lifecycle.Poll(ctx, func() bool { return s.generic.revokedCertificates.has(key) })
}
