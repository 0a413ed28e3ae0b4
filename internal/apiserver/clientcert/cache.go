// Package clientcert has what the API server does with the client certificates of
// requests besides verifying them: it caches verified ones, refuses its own, and closes
// the connections of those that are revoked.
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
	// certificateTTL is how long an answer is good for: that of upstream's
	// cache of tokens.
	certificateTTL = 10 * time.Second
	// maxCertificates is room for the nodes of the largest cluster that
	// Kubernetes supports, and as many others. An entry is less than 1 KB.
	maxCertificates = 10_000
)

// Cache remembers whom a client certificate names, in front of
// upstream's authenticators, which verify its chain anew at each request: a
// tenth of the CPU of a create over TLS. It holds only what they have answered,
// never a refusal, for certificateTTL at most, as long as all certificates that
// can have been verified are valid, and as long as the client CAs are the same.
//
// On what it answers upstream does not count the certificate in
// apiserver_client_certificate_expiration_seconds again.
type Cache struct {
	next      authenticator.Request
	ca        dynamiccertificates.CAContentProvider
	userNames []string // headers by which a front proxy names the user
	clock     cache.Clock
	trust     atomic.Pointer[trust]
}

// trust is what was verified against one bundle of client CAs.
type trust struct {
	bundle   []byte
	cas      []*x509.Certificate
	verified *cache.LRUExpireCache // by the hash of the chain, *verified
}

type verified struct {
	response            *authenticator.Response
	notBefore, notAfter time.Time
}

func NewCache(next authenticator.Request, ca dynamiccertificates.CAContentProvider, userNames []string, clock cache.Clock) *Cache {
	return &Cache{next: next, ca: ca, userNames: userNames, clock: clock}
}

func (c *Cache) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	// Who comes through a front proxy is asked for first, and is another user
	// at each request.
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
		// By the time of day, as certificates are: the cache's own time does
		// not jump when somebody sets the clock.
		known := known.(*verified)
		if now := c.clock.Now(); !now.Before(known.notBefore) && !now.After(known.notAfter) {
			return known.response, true, nil
		}
	}
	response, ok, err := c.next.AuthenticateRequest(r)
	// What a token has said is not the certificate's.
	if err == nil && ok && Identifies(response, chain[0]) && bytes.Equal(trust.bundle, c.ca.CurrentCABundleContent()) {
		entry := &verified{response: response}
		entry.notBefore, entry.notAfter = validity(chain, trust.cas, c.clock.Now())
		trust.verified.Add(key, entry, certificateTTL)
	}
	return response, ok, err
}

// current is for the client CAs as they are now. It is nil if they cannot be
// read.
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

// chainHash is of all that the client has shown: which CA has signed the first
// may depend on the others.
func chainHash(chain []*x509.Certificate) (sum [sha256.Size]byte) {
	if len(chain) == 1 {
		return sha256.Sum256(chain[0].Raw)
	}
	h := sha256.New()
	for _, c := range chain {
		h.Write(c.Raw) // DER tells its own length
	}
	h.Sum(sum[:0])
	return sum
}

// Identifies tells whether upstream has the user from the certificate
// (x509.CommonNameUserConversion).
func Identifies(response *authenticator.Response, c *x509.Certificate) bool {
	sum := sha256.Sum256(c.Raw)
	return slices.Equal(response.User.GetExtra()[user.CredentialIDKey], []string{"X509SHA256=" + hex.EncodeToString(sum[:])})
}

// validity is the time in which none of the certificates that can have been
// verified at now begins or ceases to be valid.
func validity(chain, cas []*x509.Certificate, now time.Time) (notBefore, notAfter time.Time) {
	notBefore, notAfter = chain[0].NotBefore, chain[0].NotAfter
	for _, c := range slices.Concat(chain[1:], cas) {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			continue // nothing was verified with it
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
