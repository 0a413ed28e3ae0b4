// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package clientcert

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/client-go/tools/cache"

	"github.com/kubembed/kubembed/internal/nodeidentity"
)

// Revocations refuses the client certificates of revoked nodes and revoked certificates,
// and closes their connections. It reads memory only: an informer of Secrets updates it,
// on each server that shares the etcd.
type Revocations struct {
	Nodes        *RevokedNodes
	Certificates *RevokedCertificates
}

// NewRevocations returns the revocations that the informer of Secrets will see.
func NewRevocations(secrets cache.SharedIndexInformer, logger *zap.Logger) (r Revocations, err error) {
	if r.Nodes, err = newRevokedNodes(secrets, logger); err != nil {
		return Revocations{}, err
	}
	if r.Certificates, err = newRevokedCertificates(secrets); err != nil {
		return Revocations{}, err
	}
	return r, nil
}

// WaitSynced returns when all revocations from before the start are known.
func (r Revocations) WaitSynced(ctx context.Context) error {
	if err := r.Certificates.waitSynced(ctx); err != nil {
		return err
	}
	return r.Nodes.waitSynced(ctx)
}

// Authenticator returns an authenticator that refuses some requests that next accepts: of
// revoked nodes, with revoked certificates, and with the certificate that API servers
// send to kubelets.
func (r Revocations) Authenticator(next authenticator.Request) authenticator.Request {
	checks := []func(*http.Request, *authenticator.Response) error{r.Nodes.check, r.Certificates.check, refuseKubeletClient}
	return authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		response, ok, err := next.AuthenticateRequest(req)
		if err != nil || !ok {
			return response, ok, err
		}
		for _, check := range checks {
			if err := check(req, response); err != nil {
				return nil, false, err
			}
		}
		return response, true, nil
	})
}

// WithoutRevoked returns an authenticator that does not see revoked certificates. If next
// maps certificates to users by itself, Authenticator does not recognize their users as
// holders of certificates. Other credentials of the request still count.
func (r Revocations) WithoutRevoked(next authenticator.Request) authenticator.Request {
	return authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		if req.TLS == nil || len(req.TLS.PeerCertificates) == 0 {
			return next.AuthenticateRequest(req)
		}
		revoked, err := r.revoked(req, req.TLS.PeerCertificates[0])
		if err != nil {
			return nil, false, err
		}
		if revoked {
			// The copy shares the headers: authenticators delete the credentials that
			// they accept.
			hidden, state := *req, *req.TLS
			state.PeerCertificates, state.VerifiedChains = nil, nil
			hidden.TLS, req = &state, &hidden
		}
		return next.AuthenticateRequest(req)
	})
}

// revoked reports whether a client certificate is one that Authenticator refuses, and
// registers its connection for later revocations.
func (r Revocations) revoked(req *http.Request, certificate *x509.Certificate) (bool, error) {
	key, err := r.Certificates.keyOf(req, certificate)
	if err != nil {
		return false, err
	}
	// Add the connection before the check: one of the two sees a concurrent revocation.
	r.Certificates.conns.Add(req, key, key)
	if r.Certificates.has(key) {
		return true, nil
	}
	node, ok := nodeidentity.NodeOfUser(certificate.Subject.CommonName)
	if !ok {
		return false, nil
	}
	r.Nodes.conns.Add(req, node, key)
	return !(*r.Nodes.records.Load())[node].accepts(key), nil
}

// ConnContext is for http.Server.
func (r Revocations) ConnContext(ctx context.Context, c net.Conn) context.Context {
	return r.Certificates.conns.Context(r.Nodes.conns.Context(ctx, c), c)
}

// ConnState is for http.Server.
func (r Revocations) ConnState(c net.Conn, state http.ConnState) {
	r.Nodes.conns.State(c, state)
	r.Certificates.conns.State(c, state)
}
