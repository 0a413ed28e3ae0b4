// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

// Package clientcert handles client certificates after their verification: it caches
// verified certificates, rejects the API server's own, and closes the connections of
// revoked ones.
package clientcert

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/util/cert"
)

const (
	// certificateTTL is the lifetime of an entry, as in upstream's cache of tokens.
	certificateTTL = 10 * time.Second
	// maxCertificates has space for the nodes of the largest cluster that Kubernetes
	// supports, and as many other clients. An entry takes less than 1 KB.
	maxCertificates = 10_000
)

// Cache caches the users of client certificates, in front of upstream's authenticators,
// which verify the chain again for each request: a tenth of the CPU time of a create over
// TLS. It caches accepted certificates only, for certificateTTL at most, while all
// certificates of the verified chain are valid, and while the client CAs do not change.
//
// On a hit upstream does not count the certificate in
// apiserver_client_certificate_expiration_seconds again.
type Cache struct {
	next      authenticator.Request
	ca        dynamiccertificates.CAContentProvider
	userNames []string // headers by which a front proxy names the user
	clock     cache.Clock
	trust     atomic.Pointer[trust]
}

// trust holds the chains that were verified against one bundle of client CAs.
type trust struct {
	bundle   []byte
	cas      []*x509.Certificate
	verified *cache.LRUExpireCache // by the hash of the chain, *verified
}

type verified struct {
	response            *authenticator.Response
	notBefore, notAfter time.Time
}

// NewCache returns a Cache in front of next. userNames are the headers in which a front
// proxy names the user: requests with one of them are not cached.
func NewCache(next authenticator.Request, ca dynamiccertificates.CAContentProvider, userNames []string, clock cache.Clock) *Cache {
	return &Cache{next: next, ca: ca, userNames: userNames, clock: clock}
}

// AuthenticateRequest implements authenticator.Request.
func (c *Cache) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	// A front proxy names the user in headers, which come first and may differ in each
	// request.
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || slices.ContainsFunc(c.userNames, func(name string) bool { return r.Header.Get(name) != "" }) {
		return c.next.AuthenticateRequest(r)
	}
	chain := r.TLS.PeerCertificates
	key := chainHash(chain)
	trust := c.current()
	if trust == nil {
		return c.next.AuthenticateRequest(r)
	}
	if known, ok := trust.verified.Get(key); ok {
		// Compared with the time of day, like certificates: the cache's own time does not
		// jump when the clock is set.
		known := known.(*verified)
		if now := c.clock.Now(); !now.Before(known.notBefore) && !now.After(known.notAfter) {
			return known.response, true, nil
		}
	}
	response, ok, err := c.next.AuthenticateRequest(r)
	// The user of a token is not the certificate's.
	if err == nil && ok && Identifies(response, chain[0]) && bytes.Equal(trust.bundle, c.ca.CurrentCABundleContent()) {
		entry := &verified{response: response}
		entry.notBefore, entry.notAfter = validity(chain, trust.cas, c.clock.Now())
		trust.verified.Add(key, entry, certificateTTL)
	}
	return response, ok, err
}

// current returns the trust of the current client CAs, or nil if they cannot be parsed.
func (c *Cache) current() *trust {
	bundle := c.ca.CurrentCABundleContent()
	t := c.trust.Load()
	if t != nil && bytes.Equal(t.bundle, bundle) {
		return t
	}
	cas, err := cert.ParseCertsPEM(bundle)
	if err != nil {
		return nil
	}
	fresh := &trust{bundle: bundle, cas: cas, verified: cache.NewLRUExpireCacheWithClock(maxCertificates, c.clock)}
	if c.trust.CompareAndSwap(t, fresh) {
		return fresh
	}
	return nil // another request was faster; the next finds it
}

// chainHash returns the hash of all certificates that the client sent: the CA that
// verifies the first one may depend on the others.
func chainHash(chain []*x509.Certificate) (sum [sha256.Size]byte) {
	if len(chain) == 1 {
		return sha256.Sum256(chain[0].Raw)
	}
	h := sha256.New()
	for _, c := range chain {
		h.Write(c.Raw) // DER contains its length
	}
	h.Sum(sum[:0])
	return sum
}

// Identifies reports whether upstream took the user of a response from the certificate
// (x509.CommonNameUserConversion).
func Identifies(response *authenticator.Response, c *x509.Certificate) bool {
	sum := sha256.Sum256(c.Raw)
	return slices.Equal(response.User.GetExtra()[user.CredentialIDKey], []string{"X509SHA256=" + hex.EncodeToString(sum[:])})
}

// validity returns the period around now in which the validity of no certificate that can
// have been used for verification begins or ends.
func validity(chain, cas []*x509.Certificate, now time.Time) (notBefore, notAfter time.Time) {
	notBefore, notAfter = chain[0].NotBefore, chain[0].NotAfter
	for _, c := range slices.Concat(chain[1:], cas) {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			continue // verification did not use it
		}
		if c.NotBefore.After(notBefore) {
			notBefore = c.NotBefore
		}
		if c.NotAfter.Before(notAfter) {
			notAfter = c.NotAfter
		}
	}
	return notBefore, notAfter
}
