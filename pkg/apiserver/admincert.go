package apiserver

import (
	"bytes"
	"encoding/pem"
	"net/http"
	"sync"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/kubembed/kubembed/pkg/pki"
)

// adminCertificate is the client certificate in ClientConfig. It is issued at the first
// call.
type adminCertificate struct {
	mu   sync.RWMutex
	pair pki.KeyPair
	made [][]byte // in DER, the newest last
}

// current returns the certificate. One that is near its end is replaced.
func (a *adminCertificate) current(keys *pki.PKI) (pki.KeyPair, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	pair, err := keys.RenewClient(a.pair, AdminUser, []string{user.SystemPrivilegedGroup})
	if err != nil || bytes.Equal(pair.Cert, a.pair.Cert) {
		return a.pair, err
	}
	a.pair = pair
	if block, _ := pem.Decode(pair.Cert); block != nil {
		a.made = append(a.made, block.Bytes)
	}
	return pair, nil
}

// is reports whether a certificate, in DER, is or was that of ClientConfig.
func (a *adminCertificate) is(certificate []byte) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, made := range a.made {
		if bytes.Equal(made, certificate) {
			return true
		}
	}
	return false
}

// byCertificateFirst authenticates by the client certificate before the token, as
// upstream does. So a copy of a configuration with a token of this process and jane's
// certificate is jane.
type byCertificateFirst struct{ with, without authenticator.Request }

func (b byCertificateFirst) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return b.with.AuthenticateRequest(r)
	}
	return b.without.AuthenticateRequest(r)
}

// adminYields ignores the certificate of ClientConfig where there are other
// credentials: a copy with jane's token must not be an administrator.
type adminYields struct {
	authenticator.Request
	admin *adminCertificate
}

func (a adminYields) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if r.Header.Get("Authorization") == "" || !a.admin.is(r.TLS.PeerCertificates[0].Raw) {
		return a.Request.AuthenticateRequest(r)
	}
	// The headers are shared: authenticators delete what they have accepted.
	tokenOnly, state := *r, *r.TLS
	state.PeerCertificates, state.VerifiedChains = nil, nil
	tokenOnly.TLS = &state
	return a.Request.AuthenticateRequest(&tokenOnly)
}
