// Copyright The kubembed Authors
// SPDX-License-Identifier: Apache-2.0

package clientcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/union"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	clocktesting "k8s.io/utils/clock/testing"
)

// testCA signs certificates with the validity that a test needs.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// sign makes a certificate, of a CA if by is nil.
func sign(t *testing.T, by *testCA, name string, notBefore, notAfter time.Time) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		BasicConstraintsValid: true,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	} else {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testCA{cert, key}
}

// bundle is a bundle of client CAs that a test changes, at a time that it sets.
type bundle struct {
	dynamiccertificates.CAContentProvider
	clock *clocktesting.FakeClock
	cas   []*testCA
}

func (b *bundle) CurrentCABundleContent() (content []byte) {
	for _, ca := range b.cas {
		content = append(content, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})...)
	}
	return content
}

func (b *bundle) VerifyOptions() (x509.VerifyOptions, bool) {
	options := x509request.DefaultVerifyOptions()
	options.Roots, options.CurrentTime = x509.NewCertPool(), b.clock.Now()
	for _, ca := range b.cas {
		options.Roots.AddCert(ca.cert)
	}
	return options, true
}

// cached is a cache in front of upstream's authenticator of certificates and
// another of a token.
type cached struct {
	*Cache
	*bundle
	asked int // how often it was not answered by the cache
}

func newCached(now time.Time, cas ...*testCA) *cached {
	c := &cached{bundle: &bundle{clock: clocktesting.NewFakeClock(now), cas: cas}}
	next := union.New(
		x509request.NewDynamic(c.VerifyOptions, x509request.CommonNameUserConversion),
		authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
			name := r.Header.Get("Authorization")
			return &authenticator.Response{User: &user.DefaultInfo{Name: name}}, name != "", nil
		}),
	)
	c.Cache = NewCache(authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		c.asked++
		return next.AuthenticateRequest(r)
	}), c.bundle, []string{"X-Remote-User"}, c.clock())
	return c
}

func (c *cached) clock() *clocktesting.FakeClock { return c.bundle.clock }

// want authenticates a certificate, and compares the user, whose name is empty for none.
func (c *cached) want(t *testing.T, who *testCA, headers http.Header, name string, asked int) {
	t.Helper()
	response, ok, _ := c.AuthenticateRequest(&http.Request{Header: headers, TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{who.cert}}})
	got := ""
	if ok {
		got = response.User.GetName()
	}
	if got != name || c.asked != asked {
		t.Fatalf("user %q after %d verifications, want %q after %d", got, c.asked, name, asked)
	}
}

func TestCertificateIsRememberedForAWhile(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	ca := sign(t, nil, "ca", now.Add(-time.Hour), now.Add(time.Hour))
	jane := sign(t, ca, "jane", now.Add(-time.Hour), now.Add(time.Hour))
	joe := sign(t, ca, "joe", now.Add(-time.Hour), now.Add(time.Hour))
	c := newCached(now, ca)
	c.want(t, jane, nil, "jane", 1)
	c.want(t, jane, nil, "jane", 1)
	c.want(t, joe, nil, "joe", 2)
	c.clock().Step(certificateTTL)
	c.want(t, jane, nil, "jane", 2)
	c.clock().Step(time.Second)
	c.want(t, jane, nil, "jane", 3)
}

// An entry must not outlive the certificate or the CA, even if the clock is set.
func TestCertificateIsForgottenWhenNotValid(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	long, soon := now.Add(time.Hour), now.Add(certificateTTL/2)
	ago, just := now.Add(-time.Hour), now.Add(-certificateTTL/2)
	for name, c := range map[string]struct {
		ca, jane [2]time.Time
		step     time.Duration
	}{
		"certificate":        {[2]time.Time{ago, long}, [2]time.Time{ago, soon}, certificateTTL/2 + time.Second},
		"CA":                 {[2]time.Time{ago, soon}, [2]time.Time{ago, long}, certificateTTL/2 + time.Second},
		"clock set back":     {[2]time.Time{ago, long}, [2]time.Time{just, long}, -certificateTTL/2 - time.Second},
		"a year ahead":       {[2]time.Time{ago, long}, [2]time.Time{ago, long}, 365 * 24 * time.Hour},
		"a year back":        {[2]time.Time{ago, long}, [2]time.Time{ago, long}, -365 * 24 * time.Hour},
		"CA, clock set back": {[2]time.Time{just, long}, [2]time.Time{ago, long}, -certificateTTL/2 - time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			ca := sign(t, nil, "ca", c.ca[0], c.ca[1])
			// Of no use to anybody, and no reason to forget.
			expired := sign(t, nil, "expired", ago, just)
			jane := sign(t, ca, "jane", c.jane[0], c.jane[1])
			cached := newCached(now, ca, expired)
			cached.want(t, jane, nil, "jane", 1)
			cached.want(t, jane, nil, "jane", 1)
			cached.clock().Step(c.step)
			cached.want(t, jane, nil, "", 2)
		})
	}
}

func TestCertificateIsForgottenWithItsCA(t *testing.T) {
	now := time.Now()
	ca := sign(t, nil, "ca", now.Add(-time.Hour), now.Add(time.Hour))
	other := sign(t, nil, "other", now.Add(-time.Hour), now.Add(time.Hour))
	jane := sign(t, ca, "jane", now.Add(-time.Hour), now.Add(time.Hour))
	c := newCached(now, ca)
	c.want(t, jane, nil, "jane", 1)
	c.cas = []*testCA{ca, other}
	c.want(t, jane, nil, "jane", 2)
	c.cas = []*testCA{other}
	c.want(t, jane, nil, "", 3)
	c.want(t, jane, nil, "", 4) // no refusal is remembered
	c.cas = []*testCA{ca}
	c.want(t, jane, nil, "jane", 5)
}

// The cache keeps neither the user of a token that comes with a certificate, nor the user
// of a request through a front proxy.
func TestCacheKeepsOnlyTheUserOfTheCertificate(t *testing.T) {
	now := time.Now()
	ca := sign(t, nil, "ca", now.Add(-time.Hour), now.Add(time.Hour))
	stranger := sign(t, nil, "stranger", now.Add(-time.Hour), now.Add(time.Hour))
	c := newCached(now, ca)
	c.want(t, stranger, http.Header{"Authorization": {"joe"}}, "joe", 1)
	c.want(t, stranger, nil, "", 2)
	c.want(t, stranger, http.Header{"Authorization": {"jim"}}, "jim", 3)
	jane := sign(t, ca, "jane", now.Add(-time.Hour), now.Add(time.Hour))
	c.want(t, jane, nil, "jane", 4)
	c.want(t, jane, http.Header{"X-Remote-User": {"root"}}, "jane", 5)
	c.want(t, jane, nil, "jane", 5)
}

// All certificates of the client belong to the key of the cache.
func TestCertificatesOfAChain(t *testing.T) {
	now := time.Now()
	a := sign(t, nil, "a", now, now.Add(time.Hour)).cert
	b := sign(t, nil, "b", now, now.Add(time.Hour)).cert
	seen := map[[32]byte]bool{}
	for _, chain := range [][]*x509.Certificate{{a}, {b}, {a, b}, {b, a}} {
		seen[chainHash(chain)] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d different hashes of 4 chains", len(seen))
	}
}
